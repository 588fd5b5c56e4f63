package persistence

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// A backup is the files of a Snapshot and a manifest with their digests.
const (
	backupManifest = "backup.json"
	backupFormat   = 1
)

// BackupFile is one file of a backup.
type BackupFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// backupContent is the manifest.
type backupContent struct {
	Format int          `json:"format"`
	Index  uint64       `json:"index"` // log index of the state
	Files  []BackupFile `json:"files"`
}

// BackupReport says what a backup holds.
type BackupReport struct {
	Index    uint64
	Files    int
	Bytes    int64
	Segments int
	Messages uint64 // stored in segments, settled ones among them
}

// Backup copies the state to dst, which must not exist, and reads the copy
// back: every digest, every checksum. scratch is a folder on the store's file
// system. The store goes on meanwhile.
func (s *Store) Backup(scratch, dst string) (*BackupReport, error) {
	if _, err := os.Lstat(dst); !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("persistence: backup: %s exists", dst)
	}
	if !filepath.IsAbs(dst) {
		return nil, fmt.Errorf("persistence: backup: %s is no absolute path", dst)
	}
	snap, err := s.Snapshot(filepath.Join(scratch, fmt.Sprintf("snapshot-backup-%d", s.opts.Clock().UnixNano())))
	if err != nil {
		return nil, err
	}
	defer func() { _ = snap.Release() }() // links; the next start removes them, too
	part := dst + ".part"
	if err := writeBackup(snap, part); err != nil {
		return nil, errors.Join(fmt.Errorf("persistence: backup: %w", err), os.RemoveAll(part))
	}
	report, err := VerifyBackup(part)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(part))
	}
	if err := os.Rename(part, dst); err != nil {
		return nil, err
	}
	return report, syncDir(filepath.Dir(dst))
}

func writeBackup(snap *Snapshot, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	content := backupContent{Format: backupFormat, Index: snap.Index}
	for _, f := range snap.Files {
		sum, err := copyFile(filepath.Join(snap.Dir, f.Name), filepath.Join(dir, f.Name))
		if err != nil {
			return err
		}
		content.Files = append(content.Files, BackupFile{f.Name, f.Size, sum})
	}
	raw, err := json.MarshalIndent(content, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, backupManifest), append(raw, '\n'), 0o600); err != nil {
		return err
	}
	return syncDir(dir)
}

// copyFile copies durably and returns the digest of what it read.
func copyFile(from, to string) (sum string, err error) {
	in, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, h), in)
	if err == nil {
		err = out.Sync()
	}
	return hex.EncodeToString(h.Sum(nil)), errors.Join(err, out.Close())
}

// VerifyBackup reads every byte of a backup.
func VerifyBackup(dir string) (*BackupReport, error) {
	content, err := readBackup(dir)
	if err != nil {
		return nil, err
	}
	report := &BackupReport{Index: content.Index, Files: len(content.Files)}
	for _, f := range content.Files {
		in, err := os.Open(filepath.Join(dir, f.Name))
		if err != nil {
			return nil, fmt.Errorf("persistence: backup: %w", err)
		}
		h := sha256.New()
		n, err := io.Copy(h, in)
		if err = errors.Join(err, in.Close()); err != nil {
			return nil, fmt.Errorf("persistence: backup: %w", err)
		}
		if n != f.Size || hex.EncodeToString(h.Sum(nil)) != f.SHA256 {
			return nil, &CorruptionError{File: f.Name, Reason: "its digest is not that of the backup"}
		}
		report.Bytes += n
	}
	found, err := Verify(JournalOptions{Dir: dir})
	if err != nil {
		return nil, err
	}
	if len(found.Damage) > 0 {
		return nil, found.Damage[0]
	}
	report.Segments, report.Messages = found.Segments, found.Messages
	return report, nil
}

func readBackup(dir string) (*backupContent, error) {
	raw, err := os.ReadFile(filepath.Join(dir, backupManifest))
	if err != nil {
		return nil, fmt.Errorf("persistence: backup: %w", err)
	}
	content := &backupContent{}
	if err := json.Unmarshal(raw, content); err != nil {
		return nil, fmt.Errorf("persistence: backup: %s: %w", backupManifest, err)
	}
	if content.Format != backupFormat {
		return nil, formatError("backup", content.Format)
	}
	for _, f := range content.Files {
		if f.Name != filepath.Base(f.Name) || f.Name == backupManifest || strings.HasPrefix(f.Name, ".") {
			return nil, fmt.Errorf("persistence: backup: file %q", f.Name)
		}
	}
	return content, nil
}

// RestoreBackup verifies a backup and makes a store of it in dst, which must
// not exist. The log that goes with it begins behind the index returned.
func RestoreBackup(dir, dst string) (*BackupReport, error) {
	report, err := VerifyBackup(dir)
	if err != nil {
		return nil, err
	}
	content, err := readBackup(dir)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dst, 0o700); err != nil {
		return nil, fmt.Errorf("persistence: restore: %w", err)
	}
	for _, f := range content.Files {
		sum, err := copyFile(filepath.Join(dir, f.Name), filepath.Join(dst, f.Name))
		if err != nil {
			return nil, fmt.Errorf("persistence: restore: %w", err)
		}
		if sum != f.SHA256 {
			return nil, &CorruptionError{File: f.Name, Reason: "it changed while it was restored"}
		}
	}
	return report, syncDir(dst)
}
