//! The lane of an output: it takes batches, and answers what became of them.

use std::rc::Rc;
use std::sync::Arc;

use event::Signal;
use tokio::sync::mpsc;

use super::Answer;
use crate::batch::Batch;
use crate::lane::Ending;
use crate::limits::FLUSH_LONGEST;
use crate::plugin::{Outcome, Output, OutputLane};
use crate::processors::Processing;

/// Flushes the batches of one output lane until the engine closes `jobs`.
pub(crate) async fn serve(
    output: Arc<dyn Output>,
    processing: Option<Processing>,
    index: usize,
    mut jobs: mpsc::Receiver<Arc<Batch>>,
    answers: mpsc::Sender<Answer>,
    ending: Ending,
) {
    let lane: Rc<dyn OutputLane> = output.lane().into();
    let processing = processing.map(Rc::new);
    while let Some(batch) = jobs.recv().await {
        let (lane, processing, answers) = (Rc::clone(&lane), processing.clone(), answers.clone());
        tokio::task::spawn_local(async move {
            let outcome = flush(lane, processing, Arc::clone(&batch)).await;
            // The engine listens until every batch is settled, or has stopped for good.
            let _gone = answers.send(Answer { output: index, batch, outcome }).await;
        });
    }
    // The engine hears of its end by the end of `answers`.
    lane.finish(&ending).await;
}

/// One flush, on a task of its own so that a bug in an output costs one try and not the lane.
async fn flush(lane: Rc<dyn OutputLane>, processing: Option<Rc<Processing>>, batch: Arc<Batch>) -> Outcome {
    let mut task = tokio::task::spawn_local(async move {
        match processing {
            None => lane.flush(&batch).await,
            // Processors are for records.
            Some(_) if batch.parts.iter().any(|part| part.signal() != Signal::Logs) => {
                lane.flush(&batch).await
            }
            Some(processing) => match processing.apply(&batch).await {
                Ok(Some(batch)) => lane.flush(&batch).await,
                Ok(None) => Outcome::Done,
                Err(_) => Outcome::Split { why: "its processors have no memory for so much".to_owned() },
            },
        }
    });
    let again = |why: &str| Outcome::Retry { after: None, why: why.to_owned() };
    match tokio::time::timeout(FLUSH_LONGEST, &mut task).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => again("the output stopped at a bug (see the message above)"),
        Err(_) => {
            task.abort();
            again("the flush took longer than 15 minutes")
        }
    }
}
