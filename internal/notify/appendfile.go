package notify

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// appendFile is a file of lines that only grows. Who rotates it renames or
// removes it; the next append then begins a new one.
type appendFile struct {
	name string
	mode os.FileMode
	f    *os.File
	size int64 // up to the last complete append
}

// append writes lines at the file's end and syncs them. After an error none of
// them counts: the next append cuts off what there is of them.
func (f *appendFile) append(lines []byte) error {
	if err := f.open(); err != nil {
		return err
	}
	n, err := f.f.WriteAt(lines, f.size)
	if err == nil {
		err = f.f.Sync()
	}
	if err != nil {
		if n > 0 {
			err = errors.Join(err, f.f.Truncate(f.size))
		}
		return fmt.Errorf("appending to %s: %w", f.name, errors.Join(err, f.close()))
	}
	f.size += int64(n)
	return nil
}

// open opens the file, unless the open one still has its name.
//
// Crash story: a crash inside an append leaves a part of its last line, or
// lines that will be written again. The part is ended by a newline, so that it
// spoils no line but itself.
func (f *appendFile) open() error {
	if f.f != nil {
		now, err := os.Stat(f.name)
		if err == nil {
			var is os.FileInfo
			if is, err = f.f.Stat(); err == nil && os.SameFile(now, is) && is.Size() == f.size {
				return nil
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("looking at %s: %w", f.name, err)
		}
		if err := f.close(); err != nil {
			return err
		}
	}
	file, err := os.OpenFile(f.name, os.O_RDWR|os.O_CREATE, f.mode)
	if err != nil {
		return err
	}
	size, err := lineEnd(file)
	if err == nil {
		err = syncDir(filepath.Dir(f.name))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("opening %s: %w", f.name, err), file.Close())
	}
	f.f, f.size = file, size
	return nil
}

// lineEnd ends the last line of a file and returns the file's size.
func lineEnd(f *os.File) (int64, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return 0, err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], size-1); err != nil {
		return 0, err
	}
	if last[0] == '\n' {
		return size, nil
	}
	_, err = f.WriteAt([]byte("\n"), size)
	return size + 1, err
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (f *appendFile) close() error {
	if f.f == nil {
		return nil
	}
	err := f.f.Close()
	f.f = nil
	return err
}
