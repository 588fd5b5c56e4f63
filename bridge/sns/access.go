package sns

import (
	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/aws/policy"
	"github.com/hermodmq/hermod/broker"
)

// signed reports whether the call came with a signature. Without one it may
// still have a caller, if the endpoint takes anybody.
func (c *call) signed() bool {
	return c.Caller != nil && (c.Header("authorization") != "" || c.Form.Has("X-Amz-Signature"))
}

// topicARN checks the form of a topic's name; parameter is how errors call it.
func (c *call) topicARN(parameter, arn string) (aws.ARN, *aws.Error) {
	if arn == "" && !c.Form.Has(parameter) {
		return aws.ARN{}, invalid(parameter + " Reason: no value for required parameter")
	}
	a, n, ok := aws.ParseARN(arn)
	if n < 6 {
		return a, shortARN(parameter, n)
	}
	if !ok || a.Service != "sns" || a.Region != c.Region || c.s.endpoint.VHostOf(a.Account) == nil {
		return a, invalid(parameter)
	}
	return a, nil
}

// needTopic finds a topic that the caller may use for an action.
func (c *call) needTopic(parameter, arn, action string) (*topic, *aws.Error) {
	if _, err := c.topicARN(parameter, arn); err != nil {
		return nil, err
	}
	t := c.s.topic(arn)
	if t == nil {
		return nil, errTopic
	}
	return t, c.authorize(t, action)
}

// authorize asks the topic's policy, and the broker's permissions where they
// say something of the action. Within the account a policy can only forbid;
// everybody else needs its leave.
func (c *call) authorize(t *topic, action string) *aws.Error {
	if c.Caller.System() {
		return nil
	}
	d := policy.None
	if t.policy != nil {
		d = t.policy.Evaluate(&policy.Request{
			Principal: c.Caller.ARN(), Account: c.Caller.Account, Action: "SNS:" + action, Resource: t.ARN,
			Condition: func(key string) []string {
				if key == "aws:sourceowner" || key == "aws:sourceaccount" {
					return []string{c.Caller.Account}
				}
				return c.Condition(key)
			},
		})
	}
	own := c.Caller.Account == t.account
	if d == policy.Deny || !own && d != policy.Allow {
		return denied(c.Caller.ARN(), action, t.ARN)
	}
	if !own {
		return nil
	}
	return c.permitted(t.name, t.ARN, action)
}

// permitted asks the broker's permissions: publishing needs write on the topic
// exchange, subscribing read, both with their topic permissions; everything
// that changes a topic needs write, too.
func (c *call) permitted(name, arn, action string) *aws.Error {
	write := true
	switch action {
	case "Publish":
		return nil // Session.Publish asks
	case "Subscribe", "GetTopicAttributes", "ListSubscriptionsByTopic", "ListTagsForResource", "GetDataProtectionPolicy":
		write = false
	}
	err := c.Caller.Do(func(s *broker.Session) error { return s.MayUseTopic(write, name) })
	if err != nil {
		return denied(c.Caller.ARN(), action, arn)
	}
	return nil
}
