package persistence

import (
	"errors"
	"fmt"
)

// Errors of Open and Recover.
var (
	// ErrFormat reports data of a version or kind this program does not know.
	// It is refused, never skipped.
	ErrFormat = errors.New("persistence: unknown format")

	// ErrWrongKey reports that the master key does not open the data key.
	ErrWrongKey = errors.New("persistence: the master key does not fit this data directory")

	// ErrKeyRequired reports encrypted data without a master key.
	ErrKeyRequired = errors.New("persistence: the data directory is encrypted and no master key was given")

	// ErrMetadataLost reports segments without the metadata that names them.
	// Rebuild makes new metadata from the segments.
	ErrMetadataLost = errors.New("persistence: there are segments but no metadata; rebuild it")

	// ErrClosed reports use after Close or after a fatal error.
	ErrClosed = errors.New("persistence: store is closed")
)

// CorruptionError says which bytes are not what was written. Lane, First and
// Last name the messages that cannot be read because of it (Lane 0: not known
// or more than one lane).
type CorruptionError struct {
	File   string // file name, or "log" for an entry
	Offset int64  // byte offset in the file; the index for an entry of the log
	Lane   uint64
	First  uint64
	Last   uint64
	Reason string
}

// Error implements error.
func (e *CorruptionError) Error() string {
	if e.Lane == 0 {
		return fmt.Sprintf("persistence: corrupt %s at %d: %s", e.File, e.Offset, e.Reason)
	}
	return fmt.Sprintf("persistence: corrupt %s at %d: %s (lane %d, messages %d to %d)",
		e.File, e.Offset, e.Reason, e.Lane, e.First, e.Last)
}
