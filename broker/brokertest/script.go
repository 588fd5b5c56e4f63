package brokertest

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/hermodmq/hermod/broker"
)

// Script runs commands in a world and prints what they cause. A script is
// lines of commands, a line of four dashes, the output and an empty line, again
// and again; lines that begin with # are comments.
type Script struct {
	world *World
	out   strings.Builder
}

// NewScript makes an empty world for a script.
func NewScript() (*Script, error) {
	w, err := NewWorld(nil)
	return &Script{world: w}, err
}

// RunScript carries out a whole script and returns it with the output that
// came, to be compared with the original.
func RunScript(text string) (string, error) {
	s, err := NewScript()
	if err != nil {
		return "", err
	}
	var out strings.Builder
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		out.WriteString(lines[i] + "\n")
		switch {
		case lines[i] == "----":
			result := s.out.String()
			s.out.Reset()
			if result == "" {
				result = "ok\n"
			}
			out.WriteString(result)
			for i+1 < len(lines) && lines[i+1] != "" {
				i++
			}
		case lines[i] != "" && lines[i][0] != '#':
			s.Run(lines[i])
		}
	}
	return out.String(), nil
}

// Run carries out one command.
func (s *Script) Run(line string) {
	words := strings.Fields(line)
	f, ok := commands[words[0]]
	if !ok {
		s.printf("unknown command %q", words[0])
		return
	}
	c := &call{Script: s, words: words[1:]}
	f(c)
	s.world.Commit()
}

func (s *Script) printf(format string, args ...any) {
	fmt.Fprintf(&s.out, format+"\n", args...)
}

// call is one command with its words: positional ones, flags and key=value.
type call struct {
	*Script
	words []string
}

// next takes the first positional word.
func (c *call) next() string {
	if len(c.words) == 0 {
		return ""
	}
	w := c.words[0]
	c.words = c.words[1:]
	if w == "-" {
		return ""
	}
	return w
}

func (c *call) flag(name string) bool {
	for _, w := range c.words {
		if w == name {
			return true
		}
	}
	return false
}

func (c *call) text(name, otherwise string) string {
	for _, w := range c.words {
		if v, ok := strings.CutPrefix(w, name+"="); ok {
			return v
		}
	}
	return otherwise
}

func (c *call) number(name string, otherwise int64) int64 {
	n, err := strconv.ParseInt(c.text(name, ""), 10, 64)
	if err != nil {
		return otherwise
	}
	return n
}

// args are the words of the form x-name=value as a table.
func (c *call) args() broker.Table {
	var t broker.Table
	for _, w := range c.words {
		name, text, ok := strings.Cut(w, "=")
		if !ok || !strings.HasPrefix(name, "x-") {
			continue
		}
		var v broker.Value = text
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			v = n
		} else if b, err := strconv.ParseBool(text); err == nil {
			v = b
		}
		t = append(t, broker.Field{Name: name, Value: v})
	}
	return t
}

// client is the one the command is about.
func (c *call) client() *Client {
	name := c.next()
	s := c.Script
	return s.world.Client(name, func(_ *broker.Turn, e Event) { s.printf("%s %s", name, s.event(e)) })
}

func (s *Script) event(e Event) string {
	switch e.Kind {
	case Receipt:
		if e.OK {
			return fmt.Sprintf("receipt %d", e.ID)
		}
		return fmt.Sprintf("receipt %d refused", e.ID)
	case Cancelled:
		return "cancelled " + e.Sub.Tag
	case Got:
		if !e.OK {
			return "<- nothing"
		}
		return fmt.Sprintf("%s remaining=%d", describe(e.Delivery), e.Delivery.Remaining)
	}
	return describe(e.Delivery)
}

func describe(d broker.Delivery) string {
	from := "reply"
	if d.Queue != nil {
		from = d.Queue.Name()
	}
	if d.Sub != nil {
		from = d.Sub.Tag + "@" + from
	}
	text := fmt.Sprintf("<- %s %q", from, d.Msg.Body)
	if d.Redelivered {
		text += " redelivered"
	}
	if d.Count > 0 {
		text += fmt.Sprintf(" count=%d", d.Count)
	}
	if d.GroupFirst {
		text += " first of " + d.Msg.Notes.GroupID
	}
	if n := d.Msg.Notes; n != nil && n.Occurrence > 0 {
		text += fmt.Sprintf(" occurrence=%d", n.Occurrence)
	}
	if d.Offset >= 0 {
		text += fmt.Sprintf(" offset=%d", d.Offset)
	}
	if n := d.Msg.Notes; n != nil {
		for _, x := range n.Deaths {
			text += fmt.Sprintf(" died(%s in %s x%d from %q %v)", x.Reason, x.Queue, x.Count, x.Exchange, x.RoutingKeys)
			if x.Cause != "" {
				text += fmt.Sprintf(" because %s", x.Cause)
			}
		}
	}
	return text
}

func (c *call) report(err error) {
	if err != nil {
		c.printf("error: %v", err)
	}
}
