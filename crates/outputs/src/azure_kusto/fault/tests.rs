use super::*;

fn fault(step: Step, status: u16, code: &str) -> Fault {
    let text = format!("{status} {code}");
    Fault { step, status: Some(status), code: code.to_owned(), permanent: None, after: None, text }
}

#[test]
fn every_answer_has_the_verdict_of_the_table() {
    use Step::*;
    use Verdict::*;
    for (status, code, [login, cluster, blob, queue, stream]) in [
        (408, "", [Again; 5]),
        (429, "", [Again; 5]),
        (500, "", [Again; 5]),
        (503, "ServerBusy", [Again; 5]),
        (520, "", [Again; 5]),
        (401, "", [Hold, NewToken, NewResources, NewResources, NewToken]),
        (403, "AuthenticationFailed", [Hold, Hold, NewResources, NewResources, Hold]),
        (404, "ContainerNotFound", [Hold, Hold, NewResources, NewResources, Hold]),
        (409, "BlobAlreadyExists", [Hold, Hold, Done, NewResources, Hold]),
        (409, "ContainerBeingDeleted", [Hold, Hold, NewResources, NewResources, Hold]),
        (412, "", [Hold; 5]),
        (413, "RequestBodyTooLarge", [Hold, Hold, Split, Hold, Split]),
        (400, "", [Hold; 5]),
        (400, "Md5Mismatch", [Again; 5]),
        (400, "InvalidBlockList", [Hold, Hold, Again, Hold, Hold]),
        (400, "BadRequest_EntityNotFound", [Hold; 5]),
        (400, "BadRequest_StreamingIngestionPolicyNotEnabled", [Hold; 5]),
        (400, "Stream_InputStreamTooLarge", [Hold, Hold, Hold, Hold, Split]),
        (400, "Stream_DynamicPropertyBagTooLarge", [Hold, Hold, Hold, Hold, Data]),
        (400, "BadFormat", [Hold, Hold, Hold, Hold, Data]),
        (302, "", [Hold; 5]),
    ] {
        let steps = [Login, Cluster, Blob, Queue, Stream];
        let verdicts = steps.map(|step| fault(step, status, code).verdict());
        assert_eq!(verdicts, [login, cluster, blob, queue, stream], "{status} {code}");
    }
    let passing = Fault { permanent: Some(false), ..fault(Stream, 400, "BadRequest_Whatever") };
    assert_eq!(passing.verdict(), Again);
    assert_eq!(Fault::local(Login, "no route").verdict(), Again);
}

#[test]
fn no_answer_of_any_service_drops_a_record() {
    for status in 300..600 {
        for step in Step::ALL {
            let outcome = fault(step, status, "").outcome();
            assert!(!matches!(outcome, Outcome::Reject { .. } | Outcome::Done), "{status} {step:?}");
        }
    }
}

#[test]
fn the_cluster_s_error_is_told_in_one_line_with_its_code_and_its_wait() {
    let body = r#"{"error":{"code":"BadRequest_EntityNotFound","message":"short","@message":"Database\n 'x' was not found","@permanent":true}}"#;
    let response = Response::builder().status(400).header("retry-after", "3").body(body.into()).unwrap();
    let fault = Fault::answer(Step::Cluster, &response);
    assert_eq!(
        fault.outcome(),
        Outcome::Hold {
            why:
                "no ingestion resources: 400 Bad Request BadRequest_EntityNotFound Database 'x' was not found"
                    .to_owned()
        }
    );
    assert_eq!(fault.after, Some(Duration::from_secs(3)));
    let html = Response::builder().status(503).body("<html>".into()).unwrap();
    assert_eq!(Fault::answer(Step::Cluster, &html).text, "503 Service Unavailable");
}

#[test]
fn signatures_never_reach_a_log_line() {
    for (text, expected) in [
        ("cannot put https://a.b/c/d?sv=1&sig=SECRET now", "cannot put https://a.b/c/d?... now"),
        ("URL \"https://a.b/c?sig=SECRET\", then", "URL \"https://a.b/c?...\", then"),
        ("<Uri>https://a.b/c?sig=SECRET</Uri>", "<Uri>https://a.b/c?...</Uri>"),
        ("query sv=1&sig=SECRET", "query ..."),
        ("is it so? yes", "is it so? yes"),
        ("a\r\nb\tc", "a b c"),
    ] {
        let line = one_line(text);
        assert!(!line.contains("SECRET"), "{line}");
        assert_eq!(line, expected, "{text}");
    }
    assert_eq!(one_line(&"x".repeat(1000)).len(), TEXT + 3);
}
