package amqp

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/amqp/wire"
)

// kindNames reads the exported constants of type Kind from the core's source,
// so that a new kind without a reply code fails here.
func kindNames(t *testing.T) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../../broker/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		first := g.Specs[0].(*ast.ValueSpec)
		if id, ok := first.Type.(*ast.Ident); !ok || id.Name != "Kind" {
			continue
		}
		for _, s := range g.Specs {
			for _, n := range s.(*ast.ValueSpec).Names {
				if n.IsExported() {
					names = append(names, n.Name)
				}
			}
		}
	}
	return names
}

func TestEveryKindHasAReplyCode(t *testing.T) {
	names := kindNames(t)
	if len(names) == 0 || len(names) != len(replyCodes) {
		t.Fatalf("%d kinds %v, %d reply codes", len(names), names, len(replyCodes))
	}
	for k, name := range names {
		if replyCodes[k] == 0 || wire.ReplyName(replyCodes[k]) == "UNKNOWN" {
			t.Errorf("kind %s has reply code %d", name, replyCodes[k])
		}
	}
	if got := replyCode(broker.Kind(250)); got != wire.InternalError {
		t.Errorf("unknown kind gives %d", got)
	}
}

func TestReplyCodesAndTheirReach(t *testing.T) {
	for _, c := range []struct {
		err     error
		code    uint16
		text    string
		channel bool
	}{
		{&broker.Error{Kind: broker.NotFound, Text: "no queue 'q' in vhost '/'"}, 404, "NOT_FOUND - no queue 'q' in vhost '/'", true},
		{&broker.Error{Kind: broker.Denied, Text: "x"}, 403, "ACCESS_REFUSED - x", true},
		{&broker.Error{Kind: broker.Locked, Text: "x"}, 405, "RESOURCE_LOCKED - x", true},
		{&broker.Error{Kind: broker.Precondition, Text: "x"}, 406, "PRECONDITION_FAILED - x", true},
		{&broker.Error{Kind: broker.NotAllowed, Text: "x"}, 530, "NOT_ALLOWED - x", false},
		{&broker.Error{Kind: broker.NotImplemented, Text: "x"}, 540, "NOT_IMPLEMENTED - x", false},
		{&broker.Error{Kind: broker.Internal, Text: "x"}, 541, "INTERNAL_ERROR - x", false},
		{&wire.Error{Code: 501, Text: "x"}, 501, "FRAME_ERROR - x", false},
		{refuse(wire.ChannelError, "a %d", 1), 504, "CHANNEL_ERROR - a 1", false},
		{errors.New("x"), 541, "INTERNAL_ERROR - x", false},
	} {
		e := exceptionOf(c.err)
		if e.code != c.code || e.replyText() != c.text || e.onChannel() != c.channel {
			t.Errorf("%v: %d %q on channel %v", c.err, e.code, e.replyText(), e.onChannel())
		}
	}
}

func TestReplyTextIsCutBetweenCharacters(t *testing.T) { // AMQP-22
	e := &exception{wire.NotFound, strings.Repeat("é", 200)}
	got := e.replyText()
	if len(got) > 255 || len(got) < 252 || !utf8.ValidString(got) {
		t.Errorf("reply text has %d bytes, valid %v", len(got), utf8.ValidString(got))
	}
}
