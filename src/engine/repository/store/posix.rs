//! Objects as files under a folder: temporary name, sync, link into place, sync the folder.
