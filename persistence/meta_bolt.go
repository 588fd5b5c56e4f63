package persistence

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const boltName = "meta.db"

// boltMeta keeps metadata in bbolt.
type boltMeta struct {
	db *bolt.DB
}

func openBoltMeta(dir string, readOnly bool) (m metadata, err error) {
	path := filepath.Join(dir, boltName)
	_, statErr := os.Stat(path)
	created := errors.Is(statErr, os.ErrNotExist)
	if created && readOnly {
		return nil, fmt.Errorf("persistence: %w", statErr)
	}
	// bbolt panics on some damage; to the caller damage is an error.
	defer func() {
		if r := recover(); r != nil {
			m, err = nil, &CorruptionError{File: boltName, Reason: fmt.Sprint(r)}
		}
	}()
	db, err := bolt.Open(path, 0o600, &bolt.Options{
		Timeout:        time.Second,
		FreelistType:   bolt.FreelistMapType,
		NoFreelistSync: true,
		ReadOnly:       readOnly,
	})
	if err != nil {
		if errors.Is(err, bolterrors.ErrInvalid) || errors.Is(err, bolterrors.ErrChecksum) || errors.Is(err, bolterrors.ErrVersionMismatch) {
			return nil, &CorruptionError{File: boltName, Reason: err.Error()}
		}
		return nil, fmt.Errorf("persistence: open %s: %w", boltName, err)
	}
	if readOnly {
		return &boltMeta{db}, nil
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, b := range buckets {
			if _, err := tx.CreateBucketIfNotExists([]byte{b}); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && created {
		err = syncDir(dir)
	}
	if err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("persistence: prepare %s: %w", boltName, err)
	}
	return &boltMeta{db}, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (m *boltMeta) load(bucket byte, each func(key, value []byte) error) error {
	return m.db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte{bucket})
		if b == nil {
			return &CorruptionError{File: boltName, Reason: fmt.Sprintf("bucket %q is missing", bucket)}
		}
		return b.ForEach(each)
	})
}

func (m *boltMeta) commit(batch *metaBatch) error {
	return m.db.Update(func(tx *bolt.Tx) error {
		for i := range batch.ops {
			o, key, value := batch.op(i)
			b := tx.Bucket([]byte{o.bucket})
			var err error
			switch o.kind {
			case metaPut:
				err = b.Put(key, value)
			case metaDelete:
				err = b.Delete(key)
			case metaDeleteRange:
				err = deleteRange(b, key, value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func deleteRange(b *bolt.Bucket, from, to []byte) error {
	c := b.Cursor()
	for k, _ := c.Seek(from); k != nil && bytes.Compare(k, to) < 0; k, _ = c.Seek(from) {
		if err := b.Delete(bytes.Clone(k)); err != nil {
			return err
		}
	}
	return nil
}

func (m *boltMeta) close() error { return m.db.Close() }
