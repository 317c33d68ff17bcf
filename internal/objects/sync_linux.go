package objects

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// syncFileSystem writes everything of the file system that d lies in to disk
// and reports an error of doing so (syncfs(2), since Linux 5.8).
func syncFileSystem(d *os.File) error {
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("syncing the file system of %s: %w", d.Name(), err)
	}
	return nil
}
