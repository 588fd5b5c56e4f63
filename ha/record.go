package ha

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path"

	"github.com/hermodmq/hermod/persistence/vfs"
)

// A record file is a small JSON document that is only ever replaced whole:
// written aside, synced, renamed over the old one, directory synced. Its first
// line names the format and the CRC32C of the rest.
const (
	recordHeader  = "hermod-log 1 %08x\n"
	maxRecordSize = 16 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// writeRecord replaces the record file name in dir by v, durably.
func writeRecord(fsys vfs.FS, dir, name string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	aside := path.Join(dir, name+".new")
	if _, err := fsys.Stat(aside); err == nil {
		if err := fsys.Remove(aside); err != nil {
			return err
		}
	}
	f, err := fsys.Create(aside)
	if err != nil {
		return err
	}
	_, err = f.Write(append(fmt.Appendf(nil, recordHeader, crc32.Checksum(body, castagnoli)), body...))
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := fsys.Rename(aside, path.Join(dir, name)); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

// readRecord reads the record file name in dir into v. A missing file is no
// error and leaves v alone.
func readRecord(fsys vfs.FS, dir, name string, v any) (found bool, err error) {
	f, err := fsys.Open(path.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxRecordSize))
	if err != nil {
		return false, err
	}
	head, body, _ := bytes.Cut(raw, []byte("\n"))
	if want := fmt.Sprintf(recordHeader, crc32.Checksum(body, castagnoli)); string(head)+"\n" != want {
		return false, fmt.Errorf("%w: %s/%s has a wrong checksum or format", ErrCorrupt, dir, name)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return false, fmt.Errorf("%w: %s/%s: %v", ErrCorrupt, dir, name, err)
	}
	return true, nil
}
