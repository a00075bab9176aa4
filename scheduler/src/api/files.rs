//! `POST /api/v1/files`: files are taken in, for runs that name them among their inputs; and what is
//! known of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{DefaultBodyLimit, FromRequest as _, Path, Request};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use flowmill_engine::value::{File, Name, Value};
use flowmill_infra::clock::Clock as _;
use flowmill_infra::contents::{Contents, USES, Upload};
use flowmill_infra::payloads::{Digest, Payload};
use flowmill_nodes::files::{LOCAL_FILE, media_type_of};
use flowmill_workflow::inputs::{Given, GivenFiles, extension_of, kind_of};
use futures::StreamExt as _;
use futures::stream::unfold;
use tokio::sync::Mutex;
use uuid::{Builder, Variant, Version};

use super::Api;
use super::access::Session;
use super::guard::parameters;
use super::json::{Answer, number, object, text, time};
use super::pieces::Content;
use super::problem::{Code, Problem};

/// How many files are taken in at a time: each is held whole until it is kept.
pub(super) const AT_ONCE: usize = 8;

/// How long a file may take to come.
const COMING: Duration = Duration::from_secs(90);

/// How long, and how much, is read of a file that is refused already.
const DRAINING: Duration = Duration::from_secs(10);
const DRAINED_BYTES: usize = 64 << 20;

/// The most bytes of a file's name, and of a media type.
const NAME_BYTES: usize = 255;

/// The most bytes of a form around a file.
const FORM_BYTES: usize = 64 << 10;

/// What a file that says nothing of its name is called.
const UNNAMED: &str = "upload";

/// The most files that a submission may name.
const MOST_NAMED: usize = 1000;

/// A file that came.
struct Came {
    name: String,
    mime_type: Option<String>,
    content: Vec<u8>,
}

/// How large the body of a request may be that hands in a file of so many bytes.
pub(super) fn body_limit(file_bytes: usize) -> DefaultBodyLimit {
    DefaultBodyLimit::max(file_bytes.saturating_add(FORM_BYTES))
}

/// Takes a file in.
pub(super) async fn upload<S: Contents>(
    api: Session<Api<S>>,
    uri: Uri,
    request: Request,
) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    let coming: Coming = Arc::new(Mutex::new(body.into_data_stream()));
    let request = Request::from_parts(parts, body_of(&coming));
    let taken = take_in(&api, &uri, request).await;
    if taken.is_err() {
        drain(&coming).await;
    }
    taken
}

/// The body of a request, which whoever reads it and whoever drains it share.
type Coming = Arc<Mutex<BodyDataStream>>;

fn body_of(coming: &Coming) -> Body {
    Body::from_stream(unfold(coming.clone(), |coming| async {
        let next = coming.lock().await.next().await;
        next.map(|piece| (piece, coming))
    }))
}

/// Whoever is still sending does not hear why it is refused if the connection breaks meanwhile.
async fn drain(coming: &Coming) {
    let reading = async {
        let (mut coming, mut left) = (coming.lock().await, DRAINED_BYTES);
        while let Some(Ok(piece)) = coming.next().await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                return;
            }
        }
    };
    // who sends more, or too slowly, sees the connection break
    let _ = tokio::time::timeout(DRAINING, reading).await;
}

async fn take_in<S: Contents>(
    api: &Session<Api<S>>,
    uri: &Uri,
    request: Request,
) -> Result<Answer, Problem> {
    let place = api.uploading.acquire().await;
    let _place = place.map_err(|_| Problem::new(Code::NotReady, "the process is about to end"))?;
    let came = receive(api, uri, request).await?;
    keep(api, came).await
}

async fn receive<S: Contents>(
    api: &Session<Api<S>>,
    uri: &Uri,
    request: Request,
) -> Result<Came, Problem> {
    let [name] = parameters(uri, ["name"])?;
    let most = api.settings.file_bytes;
    let is_form = media_type(request.headers()).is_some_and(|kind| {
        kind.trim_start().to_ascii_lowercase().starts_with("multipart/form-data")
    });
    refuse_large(request.headers(), most)?;
    let coming = async {
        if is_form {
            of_form(request, name, most).await
        } else {
            of_body(request, name, most).await
        }
    };
    tokio::time::timeout(COMING, coming).await.unwrap_or_else(|_| {
        Err(Problem::new(Code::Timeout, format!("it took longer than {COMING:?}")))
    })
}

/// Keeps a file that came whole.
async fn keep<S: Contents>(api: &Session<Api<S>>, came: Came) -> Result<Answer, Problem> {
    let Came { name, mime_type, content } = came;
    let name = checked_name(name)?;
    let mime_type = mime_type.filter(|kind| !kind.is_empty());
    let mime_type = mime_type.unwrap_or_else(|| media_type_of(&name).to_owned());
    if mime_type.len() > NAME_BYTES {
        return Err(Problem::request(format!("a media type has at most {NAME_BYTES} bytes")));
    }
    let hashed = tokio::task::spawn_blocking(move || Payload::of(content)).await;
    let payload = hashed.map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
    let upload = Upload {
        id: id_of(&name, &mime_type, payload.digest()),
        extension: extension_of(&name),
        name: name.into(),
        mime_type: mime_type.into(),
        bytes: payload.bytes().len() as u64,
        digest: payload.digest(),
        uploaded_at: api.clock.now(),
        used_at: api.clock.now(),
    };
    // its content is kept before anybody can name it
    api.store.content().put(&upload.owner(&api.tenant), &payload).await?;
    let known = api.store.uploads(&api.tenant, std::slice::from_ref(&upload.id)).await?;
    if let Some(known) = known.first() {
        api.store.use_uploads(&api.tenant, std::slice::from_ref(&known.id)).await?;
        return Ok(Answer::ok(shown(known)));
    }
    api.store.keep_upload(&api.tenant, &upload).await?;
    Ok(Answer(StatusCode::CREATED, shown(&upload)))
}

/// The id of a file, which looks like any other: the same file is the same upload, so it may be sent
/// again when no answer came, and a submission that names it is the same again.
fn id_of(name: &str, mime_type: &str, digest: Digest) -> Name {
    let about = Digest::of(format!("{name}\0{mime_type}\0{digest}").as_bytes()).to_string();
    // half of a digest, which is 32 hexadecimal digits
    let half = about.get(..32).and_then(|half| u128::from_str_radix(half, 16).ok());
    let id = Builder::from_u128(half.unwrap_or_default()).with_version(Version::Custom);
    id.with_variant(Variant::RFC4122).into_uuid().to_string().into()
}

/// What is known of a file.
pub(super) async fn show<S: Contents>(
    api: Session<Api<S>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    Ok(Answer::ok(shown(&find(&api, &id).await?)))
}

/// What is in a file, or a range of it.
pub(super) async fn content<S: Contents>(
    api: Session<Api<S>>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let [] = parameters(&uri, [])?;
    let upload = find(&api, &id).await?;
    let (payloads, owner) = (api.store.content(), upload.owner(&api.tenant));
    let content = Content { payloads, owner, digest: upload.digest };
    let mut response = content.answer(&headers, &upload.mime_type).await?.into_response();
    // a page that somebody uploaded must not act in the name of this server
    let attachment = axum::http::HeaderValue::from_static("attachment");
    response.headers_mut().insert(header::CONTENT_DISPOSITION, attachment);
    Ok(response)
}

async fn find<S: Contents>(api: &Session<Api<S>>, id: &str) -> Result<Upload, Problem> {
    let found = api.store.uploads(&api.tenant, &[id.into()]).await?;
    let none = || Problem::new(Code::FileNotFound, format!("there is no file {id:?}"));
    found.into_iter().next().ok_or_else(none)
}

fn shown(upload: &Upload) -> Value {
    object([
        ("id", Value::Str(upload.id.clone())),
        ("name", Value::Str(upload.name.clone())),
        ("size", number(upload.bytes)),
        // as Dify has it: without the dot
        (
            "extension",
            upload.extension.as_deref().unwrap_or_default().trim_start_matches('.').into(),
        ),
        ("mime_type", text(Some(&upload.mime_type))),
        ("digest", Value::from(upload.digest.to_string())),
        ("created_at", time(Some(upload.uploaded_at))),
    ])
}

fn media_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
}

/// A body that says it is too large is not read.
fn refuse_large(headers: &HeaderMap, most: usize) -> Result<(), Problem> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let announced = announced.and_then(|value| value.parse::<usize>().ok());
    match announced.filter(|bytes| *bytes > most.saturating_add(FORM_BYTES)) {
        Some(_) => Err(too_large(most)),
        None => Ok(()),
    }
}

fn too_large(most: usize) -> Problem {
    Problem::new(Code::TooLarge, format!("a file may have at most {most} bytes"))
}

/// The body is the file; its name is a parameter, its type a header.
async fn of_body(request: Request, name: Option<String>, most: usize) -> Result<Came, Problem> {
    let mime_type = media_type(request.headers()).map(str::to_owned);
    let mut content = Vec::new();
    let mut pieces = request.into_body().into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| broken(&error))?;
        add(&mut content, &piece, most)?;
    }
    Ok(Came { name: name.unwrap_or_else(|| UNNAMED.to_owned()), mime_type, content })
}

/// The file is the part `file` of a form, as Dify takes it.
async fn of_form(request: Request, name: Option<String>, most: usize) -> Result<Came, Problem> {
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|error| Problem::new(Code::InvalidBody, error.body_text()))?;
    let mut came: Option<Came> = None;
    while let Some(field) = form.next_field().await.map_err(|error| unreadable(&error, most))? {
        match field.name() {
            Some("file") if came.is_some() => {
                let detail = "the form has several parts `file`: send one file a request";
                return Err(Problem::new(Code::InvalidBody, detail));
            }
            Some("file") => came = Some(of_field(field, name.clone(), most).await?),
            // whoever it is for is not asked about
            Some("user") => {}
            other => {
                let other = other.unwrap_or_default();
                let detail = format!("the form has an unknown part {other:?}; known: file, user");
                return Err(Problem::request(detail));
            }
        }
    }
    came.ok_or_else(|| Problem::new(Code::InvalidBody, "the form has no part `file`"))
}

async fn of_field(
    mut field: Field<'_>,
    name: Option<String>,
    most: usize,
) -> Result<Came, Problem> {
    let name = name.or_else(|| field.file_name().map(str::to_owned));
    let mime_type = field.content_type().map(str::to_owned);
    let mut content = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(|error| unreadable(&error, most))? {
        add(&mut content, &piece, most)?;
    }
    Ok(Came { name: name.unwrap_or_else(|| UNNAMED.to_owned()), mime_type, content })
}

fn add(content: &mut Vec<u8>, piece: &[u8], most: usize) -> Result<(), Problem> {
    if content.len() + piece.len() > most {
        return Err(too_large(most));
    }
    content.extend_from_slice(piece);
    Ok(())
}

fn broken(error: &axum::Error) -> Problem {
    Problem::new(Code::InvalidBody, format!("the file did not come whole: {error}"))
}

fn unreadable(error: &MultipartError, most: usize) -> Problem {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return too_large(most);
    }
    Problem::new(Code::InvalidBody, format!("the form cannot be read: {}", error.body_text()))
}

/// A name is shown, and written in headers of requests: what could be taken for something else is
/// no name.
fn checked_name(name: String) -> Result<String, Problem> {
    let is_odd = |letter: char| letter.is_control() || matches!(letter, '/' | '\\');
    if name.is_empty() || name.len() > NAME_BYTES || name.contains(is_odd) {
        let detail = format!(
            "a file's name has 1 to {NAME_BYTES} bytes, and no slashes, backslashes or control \
             characters in it"
        );
        return Err(Problem::request(detail));
    }
    Ok(name)
}

/// What was given for a run, with the uploaded files that it names.
pub(super) async fn named<S: Contents>(
    api: &Session<Api<S>>,
    given: Given,
) -> Result<Given, Problem> {
    let mut ids = BTreeSet::new();
    for (_, value) in &given.values {
        collect(value, &mut ids);
    }
    let mut files = GivenFiles::new("upload it first, with POST /api/v1/files");
    if ids.len() > MOST_NAMED {
        let detail = format!("a run begins with at most {MOST_NAMED} files");
        return Err(Problem::request(detail));
    }
    if !ids.is_empty() {
        let ids: Vec<Name> = ids.into_iter().collect();
        let mut found = api.store.uploads(&api.tenant, &ids).await?;
        let now = api.clock.now();
        let is_rested = |upload: &&Upload| upload.used_at.after(USES) <= now;
        let rested: Vec<Name> =
            found.iter().filter(is_rested).map(|upload| upload.id.clone()).collect();
        if !rested.is_empty() {
            let there = api.store.use_uploads(&api.tenant, &rested).await?;
            found.retain(|upload| !rested.contains(&upload.id) || there.contains(&upload.id));
        }
        for upload in found {
            files.add(upload.id.clone(), None, file(&upload));
        }
    }
    Ok(Given { files, ..given })
}

/// The uploads that a value names, where a file or a list of files may stand.
fn collect(value: &Value, ids: &mut BTreeSet<Name>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| {
            if matches!(item, Value::Object(_)) {
                collect(item, ids);
            }
        }),
        Value::Object(members) => {
            let text = |key: &str| members.get(key).and_then(Value::as_str);
            if text("transfer_method") == Some(LOCAL_FILE) {
                let id = text("upload_file_id").or(text("related_id"));
                ids.extend(id.map(Name::from));
            }
        }
        _ => {}
    }
}

/// An upload, as a variable holds it.
fn file(upload: &Upload) -> File {
    File {
        kind: kind_of(upload.extension.as_deref()).into(),
        transfer_method: LOCAL_FILE.into(),
        related_id: Some(upload.id.clone()),
        filename: Some(upload.name.clone()),
        extension: upload.extension.clone(),
        mime_type: Some(upload.mime_type.clone()),
        size_bytes: i64::try_from(upload.bytes).unwrap_or(i64::MAX),
        url: Some(format!("/api/v1/files/{}/content", upload.id).into()),
        ..File::default()
    }
}
