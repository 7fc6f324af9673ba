//! What a recovery gives up is told as it is once nobody can write any more, not as it was when
//! the point was chosen.

use crate::stage::Stage;
use lifeboat::engine::drill::shop::DATABASE;
use lifeboat::engine::incident::event::Event;
use lifeboat::engine::incident::model::RunStatus;

#[test]
fn what_was_written_until_the_stop_is_counted() {
    let stage = Stage::new();
    let client = stage.runner(None);
    stage.to_gate(&client);
    let known = client.incident().unwrap().reach.clone().unwrap().lost_commits.unwrap();
    stage.on(async {
        let session = stage.sandbox.server().connect("postgres", DATABASE).await.unwrap();
        session.batch_execute("CREATE TABLE written_late (id int)").await.unwrap();
        for id in 0..5 {
            session.execute("INSERT INTO written_late VALUES ($1)", &[&id]).await.unwrap();
        }
    });
    stage.go_on(&client);
    stage.wait(&client, "the question", |i| i.status == RunStatus::Held);
    let counted = stage.wait(&client, "the count", |i| !i.may_lose_more());
    let reach = counted.reach.clone().unwrap();
    assert!(reach.lost_commits.unwrap() >= known + 6, "{known}, then {:?}", reach.lost_commits);
    let tables = reach.cost.tables.unwrap();
    let late = tables.iter().find(|loss| loss.relation.contains("written_late"));
    assert_eq!(late.map(|loss| loss.inserts), Some(5), "{tables:?}");
    let counted = stage.entries().into_iter().filter(|e| matches!(e.event, Event::LossCounted(_)));
    assert_eq!(counted.count(), 1);
}
