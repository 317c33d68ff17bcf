package trail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"

	"spoor/internal/tree"
)

// errNoFile is what files.read wraps for a file that is not there.
var errNoFile = errors.New("no such file")

// files is a place that holds files, named by slash-separated paths.
type files interface {
	// write makes files, whole and durable when it returns nil. After an error
	// some may be there. To write one again with the same bytes is harmless.
	write(ctx context.Context, what []tree.Tile) error
	// read reads a small file.
	read(ctx context.Context, name string) ([]byte, error)
}

// filesPlace is a Place of files.
type filesPlace struct{ files }

// Publish stores a checkpoint below its tree's origin: under the name that
// tlog-tiles gives the newest one, and under one of its own, which a place with
// a retention rule keeps for good.
func (p filesPlace) Publish(ctx context.Context, c tree.Checkpoint, signed string) error {
	for _, name := range []string{fmt.Sprintf("checkpoints/%020d", c.Size), tree.CheckpointPath} {
		if err := p.write(ctx, []tree.Tile{{Path: path.Join(c.Origin, name), Data: []byte(signed)}}); err != nil {
			return err
		}
	}
	return nil
}

// placeParallel is how many files are written at a time: one after the other
// would wait for the disk, or the network, each time.
const placeParallel = 8

// each calls fn for each file, some at a time, and returns the first error.
func each(what []tree.Tile, fn func(tree.Tile) error) error {
	if len(what) == 1 {
		return fn(what[0])
	}
	var wg sync.WaitGroup
	next := make(chan tree.Tile)
	errs := make(chan error, placeParallel)
	for range min(placeParallel, len(what)) {
		wg.Go(func() {
			var first error
			for f := range next {
				if first == nil {
					first = fn(f)
				}
			}
			errs <- first
		})
	}
	for _, f := range what {
		next <- f
	}
	close(next)
	wg.Wait()
	close(errs)
	var first error
	for err := range errs {
		if first == nil {
			first = err
		}
	}
	return first
}

// dirFiles is a directory.
type dirFiles string

// write makes the files under names of their own, syncs them, and then gives
// them theirs. Only the waiting for the disk is done side by side: two that make
// files in one directory spin for its lock.
func (d dirFiles) write(_ context.Context, what []tree.Tile) (err error) {
	if err := os.MkdirAll(string(d), 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(string(d)) // a trail's name must not lead out of it
	if err != nil {
		return err
	}
	dirs := map[string]*os.Root{".": root}
	made := make(map[string]*os.File, len(what))
	defer func() {
		for _, f := range made {
			err = errors.Join(err, f.Close())
		}
		for _, r := range dirs {
			err = errors.Join(err, r.Close())
		}
	}()
	for _, f := range what {
		in, err := within(root, dirs, path.Dir(f.Path))
		if err != nil {
			return err
		}
		if made[f.Path], err = in.OpenFile(path.Base(f.Path)+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644); err != nil {
			delete(made, f.Path)
			return err
		}
		if _, err := made[f.Path].Write(f.Data); err != nil {
			return err
		}
	}
	if err := each(what, func(f tree.Tile) error { return made[f.Path].Sync() }); err != nil {
		return err
	}
	for _, f := range what {
		name := path.Base(f.Path)
		if err := dirs[path.Dir(f.Path)].Rename(name+".tmp", name); err != nil {
			return err
		}
	}
	// The names are durable once their directories are, and those the same way.
	for _, in := range dirs {
		if err := syncDir(in); err != nil {
			return err
		}
	}
	return nil
}

// within opens a directory, and makes it and those above it where they are not
// there; they are all in dirs then.
func within(root *os.Root, dirs map[string]*os.Root, name string) (*os.Root, error) {
	if in := dirs[name]; in != nil {
		return in, nil
	}
	above, err := within(root, dirs, path.Dir(name))
	if err != nil {
		return nil, err
	}
	base := path.Base(name)
	if err := above.Mkdir(base, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	in, err := above.OpenRoot(base)
	if err == nil {
		dirs[name] = in
	}
	return in, err
}

func syncDir(in *os.Root) error {
	d, err := in.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (d dirFiles) read(_ context.Context, name string) ([]byte, error) {
	b, err := fs.ReadFile(os.DirFS(string(d)), name)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", errNoFile, err)
	}
	return b, err
}

// bucketFiles is a bucket of the server's object storage.
type bucketFiles struct {
	store          Bucket
	bucket, prefix string
}

// contentType is how a file of a tree is served (tlog-tiles).
func contentType(name string) string {
	if strings.Contains(name, "/tile/") {
		return "application/octet-stream"
	}
	return "text/plain; charset=utf-8"
}

func (b bucketFiles) write(ctx context.Context, what []tree.Tile) error {
	return each(what, func(f tree.Tile) error {
		return b.store.Put(ctx, b.bucket, path.Join(b.prefix, f.Path), f.Data, PutOptions{ContentType: contentType(f.Path)})
	})
}

func (b bucketFiles) read(ctx context.Context, name string) ([]byte, error) {
	o, ok := b.store.(Opener)
	if !ok {
		return nil, errors.New("the object storage cannot be read")
	}
	body, err := o.Open(ctx, b.bucket, path.Join(b.prefix, name))
	if errors.Is(err, ErrNoObject) {
		err = fmt.Errorf("%w: %w", errNoFile, err)
	}
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(body, tree.MaxNote+1))
	return out, errors.Join(err, body.Close())
}

// httpFiles is a server that takes files by PUT and shows them by GET, as one
// with WebDAV does.
type httpFiles struct {
	base   string
	client *http.Client
}

func (h httpFiles) write(ctx context.Context, what []tree.Tile) error {
	return each(what, func(f tree.Tile) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, h.base+"/"+f.Path, bytes.NewReader(f.Data))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", contentType(f.Path))
		res, err := h.client.Do(req)
		if err != nil {
			return err
		}
		if err := res.Body.Close(); err != nil {
			return err
		}
		if res.StatusCode/100 != 2 {
			return fmt.Errorf("putting %s: the answer is %s", f.Path, res.Status)
		}
		return nil
	})
}

func (h httpFiles) read(ctx context.Context, name string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.base+"/"+name, http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := h.client.Do(req)
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(res.Body, tree.MaxNote+1))
	err = errors.Join(err, res.Body.Close())
	switch {
	case res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusGone:
		return nil, fmt.Errorf("%w: %s", errNoFile, name)
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("getting %s: the answer is %s", name, res.Status)
	}
	return out, err
}
