package sns

import "github.com/aws/aws-sdk-go-v2/service/sqs"

// allow lets a topic send to a queue.
func (w *world) allow(q queue, topic string) {
	w.Helper()
	policy := `{"Statement":[{"Effect":"Allow","Principal":{"Service":"sns.amazonaws.com"},"Action":"sqs:SendMessage","Resource":"` + q.arn +
		`","Condition":{"ArnEquals":{"aws:SourceArn":"` + topic + `"}}}]}`
	_, err := w.queues.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{QueueUrl: &q.url, Attributes: map[string]string{"Policy": policy}})
	w.must(err)
}
