//! go.

use std::path::Path;

use crate::build::BuildError;
use crate::project::Project;

/// Makes the project's component at `out`.
pub(crate) fn build(_project: &Project, _out: &Path) -> Result<(), BuildError> {
    Err(BuildError::Component("not written yet".to_owned()))
}
