package amqp

import "testing"

func TestInboxGivesTheMemoryOfABurstBack(t *testing.T) {
	var b inbox
	for range 2 { // once for each of the slices that swap places
		for range 3000 {
			b.notes = append(b.notes, note{})
			b.receipts = append(b.receipts, receipt{})
		}
		b.giveBack(b.take())
	}
	room := func() int {
		return max(cap(b.notes), cap(b.spareNotes), cap(b.receipts), cap(b.spareReceipts))
	}
	if b.trim(); room() < 3000 {
		t.Errorf("room for %d of a burst of 3000 while it lasts", room())
	}
	if b.trim(); room() > inboxKeep {
		t.Errorf("room for %d afterwards", room())
	}
}
