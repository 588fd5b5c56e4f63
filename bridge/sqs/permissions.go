package sqs

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/endpoint"
)

// ownerActions are those that AddPermission cannot share.
var ownerActions = []string{
	"AddPermission", "CancelMessageMoveTask", "CreateQueue", "DeleteQueue", "ListMessageMoveTasks", "ListQueues", "ListQueueTags",
	"RemovePermission", "SetQueueAttributes", "StartMessageMoveTask", "TagQueue", "UntagQueue",
}

const maxShared = 7 // actions of one AddPermission

// statement is one of a policy as AddPermission writes it: the order of the
// members matters.
type statement struct {
	Sid       string          `json:"Sid"`
	Effect    string          `json:"Effect"`
	Principal json.RawMessage `json:"Principal"`
	Action    any             `json:"Action"`
	Resource  string          `json:"Resource"`
}

type document struct {
	Version   string            `json:"Version"`
	ID        string            `json:"Id"`
	Statement []json.RawMessage `json:"Statement"`
}

// oneOrMany unwraps a list of one.
func oneOrMany(list []string) any {
	if len(list) == 1 {
		return list[0]
	}
	return list
}

func (s *Service) addPermission(r *request, q *queue, _ *endpoint.Caller) {
	in := r.in
	if err := checkPermission(in); err != nil {
		r.fail(err)
		return
	}
	set := *q.settings()
	doc := document{Version: "2008-10-17", ID: q.arn + "/SQSDefaultPolicy"}
	if set.Policy != "" && !doc.take(set.Policy) {
		r.fail(aws.ErrInternal)
		return
	}
	if doc.find(in.label) >= 0 {
		r.fail(badValue(in.label, "Label", "Already exists."))
		return
	}
	var principals, names []string
	for _, a := range in.accounts {
		principals = append(principals, "arn:"+aws.Partition(s.endpoint.Region())+":iam::"+a+":root")
	}
	for _, a := range in.actions_ {
		names = append(names, "SQS:"+a)
	}
	principal, _ := json.Marshal(map[string]any{"AWS": oneOrMany(principals)})
	raw, _ := json.Marshal(statement{in.label, "Allow", principal, oneOrMany(names), q.arn})
	doc.Statement = append(doc.Statement, raw)
	s.replacePolicy(r, q, set, doc)
}

func checkPermission(in *input) *aws.Error {
	switch {
	case in.label == "":
		return missing("Label")
	case len(in.label) > 80 || !plainName(in.label):
		return badValue(in.label, "Label", "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")
	case len(in.actions_) == 0:
		return missing("Actions")
	case len(in.actions_) > maxShared:
		return modelled(403, "OverLimit", "OverLimit", strconv.Itoa(len(in.actions_))+" Actions were found, maximum allowed is 7.")
	case len(in.accounts) == 0:
		return badValue("[]", "PrincipalId", "Unable to verify.")
	}
	for _, a := range in.actions_ {
		switch {
		case a == "*":
		case actions[a] == nil:
			return badValue("SQS:"+a, "ActionName", "Please refer to the appropriate WSDL for a list of valid actions. ")
		case slices.Contains(ownerActions, a):
			return badValue("SQS:"+a, "ActionName", "Only the queue owner is allowed to invoke this action.")
		}
	}
	for _, a := range in.accounts {
		if !aws.IsAccount(a) {
			return badValue("["+strings.Join(in.accounts, ", ")+"]", "PrincipalId", "Unable to verify.")
		}
	}
	return nil
}

// take reads an existing policy.
func (d *document) take(text string) bool {
	var old document
	if json.Unmarshal([]byte(text), &old) != nil {
		var single struct {
			Statement json.RawMessage
		}
		if json.Unmarshal([]byte(text), &single) != nil {
			return false
		}
		old.Statement = []json.RawMessage{single.Statement}
	}
	if old.Version != "" {
		d.Version = old.Version
	}
	if old.ID != "" {
		d.ID = old.ID
	}
	d.Statement = old.Statement
	return true
}

// find is the index of the statement with a label, -1 if there is none.
func (d *document) find(label string) int {
	return slices.IndexFunc(d.Statement, func(raw json.RawMessage) bool {
		var s struct{ Sid string }
		return json.Unmarshal(raw, &s) == nil && s.Sid == label
	})
}

func (s *Service) removePermission(r *request, q *queue, _ *endpoint.Caller) {
	label := r.in.label
	if label == "" {
		r.fail(missing("Label"))
		return
	}
	set := *q.settings()
	var doc document
	i := -1
	if set.Policy != "" && doc.take(set.Policy) {
		i = doc.find(label)
	}
	if i < 0 {
		r.fail(badValue(label, "Label", "can't find label."))
		return
	}
	doc.Statement = slices.Delete(doc.Statement, i, i+1)
	s.replacePolicy(r, q, set, doc)
}

func (s *Service) replacePolicy(r *request, q *queue, set settings, doc document) {
	text := ""
	if len(doc.Statement) > 0 {
		raw, _ := json.Marshal(doc)
		text = string(raw)
	}
	if err := set.setPolicy(text); err != nil {
		r.fail(modelled(403, "OverLimit", "OverLimit", "The policy of the queue would become too large."))
		return
	}
	set.Modified = r.Turn.Now / 1000
	s.change(r.Turn, q, set, r.void)
}
