use super::*;
use crate::{cli::documented, config};

#[test]
fn the_documentation_has_every_key_of_the_document() {
    let folder = tempfile::tempdir().unwrap();
    let names = config::read_names(&[]).unwrap();
    let document = document(&names, folder.path());
    documented::check("registry info --json", &print::document(&document).unwrap(), &[]);
}
