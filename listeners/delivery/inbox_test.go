package delivery

import "testing"

func TestInboxGivesTheMemoryOfABurstBack(t *testing.T) {
	var b Inbox[[4]int, int]
	for range 2 { // once for each of the slices that swap places
		for range 3000 {
			b.notes = append(b.notes, [4]int{})
			b.receipts = append(b.receipts, 0)
		}
		b.GiveBack(b.Take())
	}
	room := func() int {
		return max(cap(b.notes), cap(b.spareNotes), cap(b.receipts), cap(b.spareReceipts))
	}
	if b.Trim(); room() < 3000 {
		t.Errorf("room for %d of a burst of 3000 while it lasts", room())
	}
	if b.Trim(); room() > inboxKeep {
		t.Errorf("room for %d afterwards", room())
	}
}
