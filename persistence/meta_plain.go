package persistence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"sync"

	"github.com/hermodmq/hermod/persistence/vfs"
)

const plainName = "meta.plain"

// plainMeta keeps all rows in memory and writes them to a new file at every
// commit, which replaces the old one by rename.
type plainMeta struct {
	fs   vfs.FS
	dir  string
	name string
	mu   sync.RWMutex
	rows map[string][]byte // bucket byte and key
}

func openPlainMeta(fsys vfs.FS, dir string) (metadata, error) {
	return openPlainFile(fsys, dir, plainName)
}

// openPlainFile opens a file of rows; a missing one is empty.
func openPlainFile(fsys vfs.FS, dir, name string) (metadata, error) {
	m := &plainMeta{fs: fsys, dir: dir, name: name, rows: map[string][]byte{}}
	f, err := fsys.Open(path.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	if len(data) < 4 || crc32.Checksum(data[4:], castagnoli) != binary.LittleEndian.Uint32(data) {
		return nil, &CorruptionError{File: name, Reason: "checksum"}
	}
	for r := (reader{b: data[4:]}); len(r.b) > 0; {
		key := r.take(r.uvarint())
		value := r.take(r.uvarint())
		if r.bad {
			return nil, &CorruptionError{File: name, Reason: "row is cut short"}
		}
		m.rows[string(key)] = value
	}
	return m, nil
}

func (m *plainMeta) load(bucket byte, each func(key, value []byte) error) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, k := range slices.Sorted(maps.Keys(m.rows)) {
		if k[0] != bucket {
			continue
		}
		if err := each([]byte(k[1:]), m.rows[k]); err != nil {
			return err
		}
	}
	return nil
}

func (m *plainMeta) commit(batch *metaBatch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range batch.ops {
		o, key, value := batch.op(i)
		name := string(append([]byte{o.bucket}, key...))
		switch o.kind {
		case metaPut:
			m.rows[name] = slices.Clone(value)
		case metaDelete:
			delete(m.rows, name)
		case metaDeleteRange:
			end := string(append([]byte{o.bucket}, value...))
			maps.DeleteFunc(m.rows, func(k string, _ []byte) bool { return k >= name && k < end })
		}
	}
	return m.write()
}

func (m *plainMeta) write() error {
	data := make([]byte, 4)
	for _, k := range slices.Sorted(maps.Keys(m.rows)) {
		data = binary.AppendUvarint(data, uint64(len(k)))
		data = append(data, k...)
		data = binary.AppendUvarint(data, uint64(len(m.rows[k])))
		data = append(data, m.rows[k]...)
	}
	binary.LittleEndian.PutUint32(data, crc32.Checksum(data[4:], castagnoli))
	name := path.Join(m.dir, m.name+".new")
	f, err := m.fs.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = m.fs.Rename(name, path.Join(m.dir, m.name))
	}
	if err == nil {
		err = m.fs.SyncDir(m.dir)
	}
	if err != nil {
		return fmt.Errorf("persistence: write %s: %w", m.name, err)
	}
	return nil
}

func (m *plainMeta) close() error { return nil }
