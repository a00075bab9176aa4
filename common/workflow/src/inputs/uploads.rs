//! Files that are given to the chat itself (`sys.files`): what `features.file_upload` says of them
//! (spec/api.md §1.6), checked as Dify checks them before a run begins.

use flowmill_engine::graph::{Item, lax_bool, lax_integer};
use flowmill_engine::value::{Name, Value, loads};

use super::file::{FileRules, of_address, of_mapping};
use super::form::texts;
use super::{Given, Rejection, SYSTEM_FILES, is_address};

const IMAGE: &str = "image";

/// How many images an old document takes that does not say so.
const OLD_IMAGES: i64 = 3;

/// Which files a document takes besides its inputs.
#[derive(Clone, Debug, Default)]
pub struct Uploads {
    rules: FileRules,
    /// The most files.
    files: Option<usize>,
    /// The most images among them.
    images: Option<usize>,
}

impl Uploads {
    /// What a document's features say; None if it takes no such files.
    pub fn of(features: &Item) -> Option<Self> {
        let upload = features.get("file_upload")?;
        let enabled = |item: &Item| item.get("enabled").and_then(lax_bool).unwrap_or(false);
        // before other files than images were taken, it all stood under `image`
        let old = upload.get(IMAGE).filter(|image| enabled(image));
        if old.is_none() && !enabled(upload) {
            return None;
        }
        let mut rules = FileRules {
            kinds: texts(upload, "allowed_file_types"),
            extensions: texts(upload, "allowed_file_extensions"),
            methods: texts(upload, "allowed_file_upload_methods"),
        };
        let limit = |item: &Item| item.get("number_limits").and_then(lax_integer);
        let most = match old {
            Some(image) => {
                rules.methods = texts(image, "transfer_methods");
                if rules.methods.is_empty() {
                    rules.methods = vec!["remote_url".into(), "local_file".into()];
                }
                if rules.kinds.is_empty() {
                    rules.kinds = vec![IMAGE.into()];
                }
                Some(limit(image).unwrap_or(OLD_IMAGES))
            }
            None => limit(upload),
        };
        let count = |most: i64| usize::try_from(most).ok().filter(|most| *most > 0);
        Some(Self {
            rules,
            files: most.and_then(count),
            // one image, where no number is said
            images: most.map_or(Some(1), count),
        })
    }

    /// The files that were given, or why they are not taken.
    ///
    /// # Errors
    /// What is wrong with each; all of them are reported.
    pub fn check(&self, given: &Given) -> Result<Vec<Value>, Vec<Rejection>> {
        let items = files(given).map_err(|message| vec![rejection(message)])?;
        let mut taken = Vec::with_capacity(items.len());
        let mut rejections = Vec::new();
        for item in items {
            match self.file(item, given) {
                Ok(file) => taken.push(file),
                Err(message) => rejections.push(rejection(message)),
            }
        }
        if !rejections.is_empty() {
            return Err(rejections);
        }
        let is_image = |value: &&Value| matches!(value, Value::File(file) if &*file.kind == IMAGE);
        let images = taken.iter().filter(is_image).count();
        let over = |count: usize, most: Option<usize>| most.filter(|most| count > *most);
        if let Some(most) = over(images, self.images) {
            let message = format!("Number of image files exceeds the maximum limit {most}");
            return Err(vec![rejection(message)]);
        }
        if let Some(most) = over(taken.len(), self.files) {
            let message = format!("Number of files exceeds the maximum limit {most}");
            return Err(vec![rejection(message)]);
        }
        Ok(taken)
    }

    fn file(&self, item: Value, given: &Given) -> Result<Value, String> {
        let file = match given.files.find(item)? {
            Value::File(file) => file,
            mapping => match of_mapping(&mapping, &FileRules::default())? {
                Value::File(file) => file,
                _ => return Err("a file must be a mapping".to_owned()),
            },
        };
        let name = file.filename.as_deref().unwrap_or_default();
        let checked = self.rules.check_file(&file);
        checked.map_err(|why| format!("File validation failed for file: {name}: {why}"))?;
        Ok(Value::File(file))
    }
}

/// Whether files were given to the chat itself.
pub fn gives_files(given: &Given) -> bool {
    files(given).map_or(true, |files| !files.is_empty())
}

fn rejection(why: String) -> Rejection {
    Rejection { name: SYSTEM_FILES.into(), message: format!("{SYSTEM_FILES}: {why}") }
}

/// As they were given: files win over texts, and those over values, as for inputs.
fn files(given: &Given) -> Result<Vec<Value>, String> {
    let local = given.files.of(SYSTEM_FILES);
    if !local.is_empty() {
        return Ok(local);
    }
    let texts: Vec<&Name> = named(&given.texts).collect();
    let value = if texts.iter().any(|text| is_address(text)) {
        Value::array(texts.into_iter().map(of_address).collect())
    } else if let Some(text) = texts.last() {
        loads(text).map_err(|error| format!("neither a URL nor JSON: {error}"))?
    } else {
        named(&given.values).last().cloned().unwrap_or_default()
    };
    match value {
        Value::None => Ok(Vec::new()),
        Value::Array(items) => Ok(items.iter().cloned().collect()),
        one @ (Value::Object(_) | Value::File(_)) => Ok(vec![one]),
        _ => Err("they must be a list of files".to_owned()),
    }
}

fn named<T>(given: &[(Name, T)]) -> impl Iterator<Item = &T> {
    given.iter().filter(|(name, _)| &**name == SYSTEM_FILES).map(|(_, value)| value)
}
