// Package durable puts files that rows of the store name onto the disk. It
// stands under what keeps data in files beside the store: event data stores and
// the columnar copies of log files.
//
// The order is always the same. A file is written under a name of its own,
// synced and given its final name; then one batch of the store names it. A
// crash in between leaves a file that no row names, which Sweep removes at the
// next start. What is no longer wanted loses its row first and then its file.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Settle makes the file part durable under the name path, below root. The
// directories down from root may be new.
func Settle(part, path, root string) (size int64, err error) {
	f, err := os.OpenFile(part, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	info, err := f.Stat()
	if err = errors.Join(err, f.Sync(), f.Close(), os.Chmod(part, 0o600)); err != nil {
		return 0, err
	}
	if err := os.Rename(part, path); err != nil {
		return 0, err
	}
	top := filepath.Dir(filepath.Clean(root))
	for dir := filepath.Dir(path); len(dir) >= len(top); dir = filepath.Dir(dir) {
		if err := syncDir(dir); err != nil {
			return 0, err
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	return info.Size(), nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Remove removes a file; one that is not there is removed.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Sweep removes the files below root that are not named, by their paths from
// root. Directories stay.
func Sweep(root string, named func(rel string) bool) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil || named(rel) {
			return err
		}
		return Remove(path)
	})
}
