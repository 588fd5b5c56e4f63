package persistence

import "encoding/binary"

// Abandon releases a store as if the process had died: nothing is written.
func (s *Store) Abandon() {
	s.failed.Store(true)
	s.batcher.stop()
	s.mu.Lock()
	s.closed = true
	s.flushed.Broadcast()
	s.mu.Unlock()
	s.abandon()
}

// EntryOf makes an entry with one record.
func EntryOf(version byte, record []byte) []byte {
	data := append(make([]byte, entryHeaderSize), record...)
	data = sealEntry(data, entryHeader{records: 1, epoch: 1, number: 1}, nil)
	data[2] = version
	binary.LittleEndian.PutUint32(data[32:], entryChecksum(data))
	return data
}
