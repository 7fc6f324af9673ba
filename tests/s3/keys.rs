//! Where the store's access keys come from, and what happens when they are wrong or run out.

use super::*;

#[test]
fn wrong_keys_are_denied_at_once_and_never_shown() {
    let Some(server) = Server::rclone(&[]) else { return };
    store_at(&server, &server.address).put("there", b"x").unwrap();
    let proxy = Proxy::before(&server);
    let wrong = config(&server, &proxy.address, "a-wrong-secret");
    let store = S3Store::open_within(&wrong, "shop", limits()).unwrap();
    for error in readings(&store, "there") {
        assert_eq!(error.fault, StoreFault::Denied, "{error}");
    }
    let before = proxy.seen().len();
    let error = store.read("there").unwrap_err();
    assert_eq!(error.fault, StoreFault::Denied, "{error}");
    assert_eq!(proxy.seen().len(), before + 1, "wrong keys are not tried again");
    let shown = format!("{store:?} {error:?} {error}");
    assert!(!shown.contains("a-wrong-secret"), "{shown}");
}

#[test]
fn keys_that_expire_in_the_middle_are_fetched_again() {
    let Some(server) = Server::rclone(&[]) else { return };
    let proxy = Proxy::before(&server);
    store_at(&server, &server.address).put("object", b"content").unwrap();
    let counter = server.folder.path().join("asked");
    let script = server.folder.path().join("keys.sh");
    let soon = "$(date -u -d '+2 hours' +%Y-%m-%dT%H:%M:%SZ)";
    let answer = format!(
        "#!/bin/sh\necho x >> '{}'\necho '{{\"Version\":1,\"AccessKeyId\":\"{ID}\",\
         \"SecretAccessKey\":\"{SECRET}\",\"Expiration\":\"'{soon}'\"}}'\n",
        counter.display()
    );
    fs::write(&script, answer).unwrap();
    let mut config = config(&server, &proxy.address, SECRET);
    let command = vec!["/bin/sh".to_owned(), script.display().to_string()];
    config.credentials = S3Credentials::Process { command };
    let store = S3Store::open_within(&config, "shop", limits()).unwrap();
    let asked = || fs::read_to_string(&counter).map_or(0, |text| text.lines().count());
    for _ in 0..3 {
        assert_eq!(store.read("object").unwrap(), b"content");
    }
    assert_eq!(asked(), 1, "keys are kept");
    proxy.next("GET", Deed::Say(400, "ExpiredToken"));
    assert_eq!(store.read("object").unwrap(), b"content");
    assert_eq!(asked(), 2);
    for _ in 0..2 {
        proxy.next("GET", Deed::Say(400, "ExpiredToken"));
    }
    let error = store.read("object").unwrap_err();
    assert_eq!(error.fault, StoreFault::Denied, "{error}");
    // A program that fails is named; what it printed as a secret is not.
    fs::write(&script, format!("echo '{SECRET}'; exit 3")).unwrap();
    let store = S3Store::open_within(&config, "shop", limits()).unwrap();
    let error = store.read("object").unwrap_err();
    assert_eq!(error.fault, StoreFault::Denied, "{error}");
    assert!(!format!("{error:?}").contains(SECRET), "{error}");
}

#[test]
fn a_keys_file_that_others_can_read_is_refused() {
    let Some(server) = Server::rclone(&[]) else { return };
    let config = config(&server, &server.address, SECRET);
    let S3Credentials::File { path, .. } = &config.credentials else { unreachable!() };
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let error = S3Store::open(&config, "shop").unwrap_err();
    assert_eq!(error.fault, StoreFault::Denied, "{error}");
}

/// Where the child test finds its server.
const CHILD: &str = "LIFEBOAT_TEST_S3_CONFIG";

/// Reads in a process of its own, since where keys come from is in the environment.
fn read_in_a_child(config: &S3Config, environment: &[(&str, &str)]) -> Result<(), String> {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "keys::reads_as_its_environment_says", "--ignored", "--nocapture"]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        child.env_remove(name);
    }
    child.env("HOME", "/nonexistent").env(CHILD, toml::to_string(config).unwrap());
    let done = child.envs(environment.iter().copied()).output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
}

#[test]
#[ignore = "run by other tests, in an environment of theirs"]
fn reads_as_its_environment_says() {
    let Ok(text) = std::env::var(CHILD) else { return };
    let config: S3Config = toml::from_str(&text).unwrap();
    let store = S3Store::open_within(&config, "shop", limits()).unwrap();
    match store.read("object") {
        Ok(content) => assert_eq!(content, b"content"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn keys_come_from_wherever_the_machine_has_them() {
    let Some(server) = Server::rclone(&[]) else { return };
    let folder = server.folder.path();
    let cloud = Cloud::start();
    let here = format!("http://{}", cloud.address);
    let task = format!("{here}/task");
    store_at(&server, &server.address).put("object", b"content").unwrap();
    let proxy = Proxy::before(&server);
    let mut config = config(&server, &proxy.address, SECRET);
    let token = secret_file(folder, "token", "who-i-am");
    let (token_path, profile_path) = (token.display().to_string(), folder.join("config"));
    let keys =
        format!("{{\"Version\":1,\"AccessKeyId\":\"{ID}\",\"SecretAccessKey\":\"{SECRET}\"}}");
    let printed = secret_file(folder, "printed", &keys);
    let process = format!("[profile far]\ncredential_process = cat {}\n", printed.display());
    fs::write(&profile_path, process).unwrap();
    let profile_path = profile_path.display().to_string();
    let keys = format!(
        "[default]\naws_access_key_id = nobody\naws_secret_access_key = none\n[far]\n\
         aws_access_key_id = {ID}\naws_secret_access_key = {SECRET}\n\
         aws_session_token = of-a-session\n"
    );
    let path = secret_file(folder, "profiles", &keys);
    let file = |profile| S3Credentials::File { path: path.clone(), profile };
    let session = ("AWS_SESSION_TOKEN", "of-a-session");
    let fixed = [("AWS_ACCESS_KEY_ID", ID), ("AWS_SECRET_ACCESS_KEY", SECRET)];
    let metadata = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", here.as_str());
    let no_metadata = ("AWS_EC2_METADATA_DISABLED", "true");
    let chain = || S3Credentials::Chain { profile: None };
    let far = S3Credentials::Chain { profile: Some("far".into()) };
    let identity = S3Credentials::WebIdentity {
        role_arn: "arn:aws:iam::1:role/r".into(),
        token_file: token,
        session_name: None,
    };
    // The source, the environment, and whether the keys are a session's.
    for (source, environment, in_session) in [
        (chain(), fixed.to_vec(), false),
        (chain(), [&fixed[..], &[session]].concat(), true),
        (file(Some("far".into())), vec![], true),
        (far, vec![("AWS_CONFIG_FILE", profile_path.as_str())], false),
        (
            chain(),
            vec![
                ("AWS_WEB_IDENTITY_TOKEN_FILE", token_path.as_str()),
                ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
                ("AWS_ENDPOINT_URL_STS", here.as_str()),
            ],
            true,
        ),
        (identity, vec![("AWS_ENDPOINT_URL_STS", here.as_str())], true),
        (S3Credentials::Ecs, vec![("AWS_CONTAINER_CREDENTIALS_FULL_URI", task.as_str())], true),
        (chain(), vec![metadata], true),
        (S3Credentials::Ec2, vec![metadata], true),
    ] {
        config.credentials = source.clone();
        if let Err(said) = read_in_a_child(&config, &environment) {
            panic!("{source:?} with {environment:?}: {said}\n{:?}", cloud.seen());
        }
        let head = proxy.heads().pop().unwrap();
        let sent = head.contains("\r\nx-amz-security-token: of-a-session\r\n");
        assert_eq!(sent, in_session, "{source:?}: {head}");
    }
    // The wrong profile of a file that is right, and a file without that profile.
    config.credentials = file(None);
    let said = read_in_a_child(&config, &[]).unwrap_err();
    assert!(said.contains("InvalidAccessKeyId") || said.contains("403"), "{said}");
    config.credentials = file(Some("nowhere".into()));
    let said = read_in_a_child(&config, &[]).unwrap_err();
    assert!(said.contains("there are no access keys from the file"), "{said}");
    config.credentials = chain();
    let said = read_in_a_child(&config, &[no_metadata]).unwrap_err();
    assert!(said.contains("there are no access keys from"), "{said}");
}
