package policy

import "testing"

const queue = "arn:aws:sqs:us-east-1:000000000000:q"

func TestEvaluate(t *testing.T) {
	statement := func(effect, principal, action, rest string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"` + effect + `","Principal":` + principal + `,"Action":` + action + rest + `}]}`
	}
	for _, c := range []struct {
		name, policy string
		want         Decision
	}{
		{"everybody", statement("Allow", `"*"`, `"sqs:SendMessage"`, ""), Allow},
		{"another action", statement("Allow", `"*"`, `"sqs:ReceiveMessage"`, ""), None},
		{"action pattern", statement("Allow", `{"AWS":"*"}`, `["SQS:Send*"]`, `,"Resource":"*"`), Allow},
		{"root of the account", statement("Allow", `{"AWS":"arn:aws:iam::000000000002:root"}`, `"SQS:*"`, ""), Allow},
		{"account", statement("Allow", `{"AWS":["1","000000000002"]}`, `"SQS:*"`, ""), Allow},
		{"another account", statement("Allow", `{"AWS":"000000000003"}`, `"SQS:*"`, ""), None},
		{"user", statement("Deny", `{"AWS":"arn:aws:iam::000000000002:user/bob"}`, `"SQS:*"`, ""), Deny},
		{"another resource", statement("Allow", `"*"`, `"*"`, `,"Resource":"arn:aws:sqs:us-east-1:000000000000:other"`), None},
		{"condition", statement("Allow", `"*"`, `"*"`, `,"Condition":{"ArnEquals":{"aws:SourceArn":"arn:aws:sns:*:t"}}`), Allow},
		{"condition fails", statement("Allow", `"*"`, `"*"`, `,"Condition":{"StringEquals":{"aws:SourceArn":"arn"}}`), None},
		{"unknown operator", statement("Allow", `"*"`, `"*"`, `,"Condition":{"Magic":{"aws:SourceArn":"arn"}}`), None},
		{"address", statement("Deny", `"*"`, `"*"`, `,"Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`), Deny},
		{"missing key", statement("Deny", `"*"`, `"*"`, `,"Condition":{"StringEquals":{"aws:nothing":"10.0.0.0/8"}}`), None},
		{"missing key if exists", statement("Deny", `"*"`, `"*"`, `,"Condition":{"StringEqualsIfExists":{"aws:nothing":"10.0.0.0/8"}}`), Deny},
		{"service", statement("Allow", `{"Service":"sns.amazonaws.com"}`, `"*"`, ""), None},
	} {
		p, err := Parse(c.policy)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		got := p.Evaluate(&Request{
			Principal: "arn:aws:iam::000000000002:user/bob", Account: "000000000002", Action: "SQS:SendMessageBatch", Resource: queue,
			Condition: func(key string) []string {
				return map[string][]string{"aws:sourcearn": {"arn:aws:sns:us-east-1:0:t"}, "aws:sourceip": {"10.1.2.3"}}[key]
			},
		})
		if got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{``, `{}`, `[]`, `{"Statement":[]}`, `{"Statement":{"Effect":"Maybe","Principal":"*","Action":"*"}}`,
		`{"Statement":{"Effect":"Allow","Action":"*"}}`, `{"Statement":{"Effect":"Allow","Principal":"*"}}`, `{"Statement":{"Effect":"Allow","Principal":"*","Action":{}}}`} {
		if _, err := Parse(text); err == nil {
			t.Errorf("accepted %s", text)
		}
	}
}
