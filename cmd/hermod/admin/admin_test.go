package admin

import "testing"

func TestEveryCommandHasAFunctionAndNoFunctionIsHidden(t *testing.T) {
	described := map[string]bool{}
	for _, spec := range Commands {
		described[spec.Name] = true
		if functions[spec.Name] == nil {
			t.Errorf("command %s has no function", spec.Name)
		}
		if spec.Short == "" || spec.Max < spec.Min {
			t.Errorf("command %s: bad description %+v", spec.Name, spec)
		}
	}
	for name := range functions {
		if !described[name] {
			t.Errorf("function %s is not described", name)
		}
	}
}
