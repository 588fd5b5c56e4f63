package perf

import "testing"

func TestWindowSettles(t *testing.T) {
	w := newWindow(4, 4)
	var h histogram
	if n, ok := w.room(); n != 4 || !ok {
		t.Fatalf("room %d %t", n, ok)
	}
	w.publish(4, 100, 10) // 1 to 4 at 100, 110, 120, 130
	steps := []struct {
		name     string
		tag      uint64
		multiple bool
		want     int
	}{
		{"one out of order", 3, false, 1},
		{"the same again", 3, false, 0},
		{"all up to it, without the settled one", 4, true, 3},
		{"never published", 9, true, 0},
		{"zero", 0, false, 0},
	}
	for _, s := range steps {
		if got := w.settle(s.tag, s.multiple, 200, &h); got != s.want {
			t.Errorf("%s: settled %d, want %d", s.name, got, s.want)
		}
	}
	if h.n != 4 || h.sum != 100+90+80+70 {
		t.Errorf("latencies: %d, sum %d", h.n, h.sum)
	}
	if n, _ := w.room(); n != 4 {
		t.Errorf("room %d after all", n)
	}
}

// A message that is confirmed late must not let its slot be used again.
func TestWindowWaitsForTheOldest(t *testing.T) {
	w := newWindow(2, 1)
	for seq := uint64(1); ; seq++ {
		if w.roomLocked() == 0 {
			break
		}
		w.publish(1, 1, 0)
		if seq > 1 {
			w.settle(seq, false, 2, nil)
		}
		if seq > 100 {
			t.Fatal("number 1 is not confirmed, yet there is always room")
		}
	}
	w.settle(1, false, 2, nil)
	if n, ok := w.room(); n != 2 || !ok {
		t.Errorf("room %d %t", n, ok)
	}
}

func TestWindowWakesThePublisher(t *testing.T) {
	w := newWindow(1, 1)
	w.publish(1, 1, 0)
	got := make(chan bool)
	wait := func() {
		_, ok := w.room()
		got <- ok
	}
	go wait()
	w.settle(1, false, 2, nil)
	if !<-got {
		t.Error("closed, want room")
	}
	w.publish(1, 1, 0)
	go wait()
	w.close()
	if <-got {
		t.Error("room in a closed window")
	}
}
