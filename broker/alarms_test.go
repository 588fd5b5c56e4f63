package broker

import "testing"

// An alarm raised by hand is not cleared by measuring that all is well, nor one
// that was measured by letting go of it by hand.
func TestAlarmsHeldByHandAndMeasuredOnesAreIndependent(t *testing.T) { // AMQP-16
	w := newTopoOn(t, NewMemoryStore(), func(o *Options) { o.MemoryLimit = 1 << 20 })
	w.b.HoldAlarm(w.turn, AlarmMemory, true)
	for range 3 {
		w.turn.Now += 1000
		w.b.Tick(w.turn)
	}
	if got := w.b.Alarms(); got != AlarmMemory {
		t.Errorf("after ticks with memory to spare: %q, want the alarm that is held", got)
	}
	w.b.SetAlarm(w.turn, AlarmMemory, true)
	w.b.HoldAlarm(w.turn, AlarmMemory, false)
	if got := w.b.Alarms(); got != AlarmMemory {
		t.Errorf("after letting go: %q, want the alarm that was measured", got)
	}
	w.b.SetAlarm(w.turn, AlarmMemory, false)
	if got := w.b.Alarms(); got != 0 {
		t.Errorf("in the end: %q, want none", got)
	}
}
