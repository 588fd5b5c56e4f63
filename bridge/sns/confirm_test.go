package sns

import "testing"

func TestRequestsToConfirmAreBounded(t *testing.T) {
	s := &Service{asking: make(map[string]int)}
	for i := range 3 * maxAsking {
		if may := s.mayAsk("a"); may != (i < maxAsking) {
			t.Errorf("request %d: %v", i, may)
		}
	}
	if !s.mayAsk("b") {
		t.Error("one subscription keeps another from asking")
	}
	s.asked("b")
	for range maxAsking {
		s.asked("a")
	}
	if len(s.asking) != 0 || !s.mayAsk("a") {
		t.Errorf("%v is left", s.asking)
	}
}

func TestSubscriptionsAreFoundByToken(t *testing.T) {
	s := &Service{subs: make(map[string]*subscription), tokens: make(map[string]string), topics: map[string]*topic{"t": {}}}
	sub := &subscription{subscriptionRecord: subscriptionRecord{ARN: "t:1", Topic: "t", Token: "x"}}
	s.keep(sub)
	s.keep(sub.with())
	s.keep(&subscription{subscriptionRecord: subscriptionRecord{ARN: "t:2", Topic: "t"}}) // nobody has to confirm it
	if got, _ := s.byToken("x"); got == nil || got.ARN != "t:1" {
		t.Errorf("found %v", got)
	}
	for _, token := range []string{"", "y"} {
		if got, _ := s.byToken(token); got != nil {
			t.Errorf("%q finds %v", token, got)
		}
	}
	s.forget("t:1")
	s.forget("t:2")
	if got, _ := s.byToken("x"); got != nil || len(s.tokens)+len(s.subs) != 0 {
		t.Errorf("found %v, left %v", got, s.tokens)
	}
}
