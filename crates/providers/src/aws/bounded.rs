//! Limits the answers that the AWS SDK reads to the share of the namespace, before they are kept in memory.

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeDeserializationInterceptorContextMut},
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{body::SdkBody, config_bag::ConfigBag};
use futures::StreamExt as _;
use http_body_util::{BodyStream, StreamBody};

use crate::engine::Arriving;

/// Counts the bytes of each answer while it arrives.
#[derive(Debug)]
pub(super) struct Bounded;

impl Intercept for Bounded {
    fn name(&self) -> &'static str {
        "Bounded"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(answer) = Arriving::current() {
            let response = context.response_mut();
            let frames = BodyStream::new(response.take_body()).map(move |frame| {
                let frame = frame?;
                if let Some(data) = frame.data_ref() {
                    answer.take(data.len())?;
                }
                Ok::<_, BoxError>(frame)
            });
            *response.body_mut() = SdkBody::from_body_1_x(StreamBody::new(frames));
        }
        Ok(())
    }
}
