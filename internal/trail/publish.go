package trail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"spoor/internal/crashpoint"
	"spoor/internal/kv"
	"spoor/internal/tree"
)

// Checkpoints are published to places outside the trail's bucket, so that not
// even who holds bucket and server can rewrite what was delivered before. A
// place gets the newest checkpoint of each trail and region, which covers those
// before it; a place that cannot be reached gets it later, and holds up
// nothing.
//
// Crash story: a checkpoint is noted in the batch that confirms the delivery of
// its digest, that a place has it after the place took it. A crash in between
// publishes it again: the same bytes under the same name.

// publishTimeout bounds one attempt.
const publishTimeout = 30 * time.Second

// Place is where checkpoints are published.
type Place interface {
	// Publish stores a signed checkpoint; it may be called again with the same.
	Publish(ctx context.Context, c tree.Checkpoint, signed string) error
}

// ParsePlace reads the name of a place: file:///directory, s3://bucket/prefix
// in this server's object storage, or the http(s) URL to post to.
func ParsePlace(name string, bucket Bucket) (Place, error) {
	u, err := url.Parse(name)
	if err != nil {
		return nil, fmt.Errorf("%q is not a URL: %w", name, err)
	}
	switch {
	case u.Scheme == "file" && u.Host == "" && filepath.IsAbs(u.Path):
		return dirPlace(u.Path), nil
	case u.Scheme == "s3" && u.Host != "":
		return bucketPlace{bucket, u.Host, strings.Trim(u.Path, "/")}, nil
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
		return httpPlace{name, &http.Client{Timeout: publishTimeout}}, nil
	}
	return nil, fmt.Errorf("%q is none of file:///directory, s3://bucket/prefix, http://… and https://…", name)
}

// names are where a checkpoint is stored below a tree's origin: the newest one
// under the name that C2SP's tlog-tiles gives it, and each under one of its own,
// which a place with a retention rule keeps for good.
func names(c tree.Checkpoint) []string {
	return []string{path.Join(c.Origin, "checkpoints", fmt.Sprintf("%020d", c.Size)), path.Join(c.Origin, "checkpoint")}
}

// dirPlace is a directory.
type dirPlace string

func (d dirPlace) Publish(_ context.Context, c tree.Checkpoint, signed string) error {
	if err := os.MkdirAll(string(d), 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(string(d)) // a trail's name must not lead out of it
	if err != nil {
		return err
	}
	for _, name := range names(c) {
		if err = writeSynced(root, filepath.FromSlash(name), signed); err != nil {
			break
		}
	}
	return errors.Join(err, root.Close())
}

// writeSynced replaces a file, durably.
func writeSynced(root *os.Root, name, content string) error {
	dir := filepath.Dir(name)
	if err := root.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp := name + ".tmp"
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := root.Rename(tmp, name); err != nil {
		return err
	}
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// bucketPlace is a bucket of the server's object storage.
type bucketPlace struct {
	store          Bucket
	bucket, prefix string
}

func (b bucketPlace) Publish(ctx context.Context, c tree.Checkpoint, signed string) error {
	for _, name := range names(c) {
		if err := b.store.Put(ctx, b.bucket, path.Join(b.prefix, name), []byte(signed), PutOptions{ContentType: "text/plain; charset=utf-8"}); err != nil {
			return err
		}
	}
	return nil
}

// httpPlace takes checkpoints by POST; any answer of 2xx means that it has it.
type httpPlace struct {
	url    string
	client *http.Client
}

func (h httpPlace) Publish(ctx context.Context, _ tree.Checkpoint, signed string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader([]byte(signed)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	res, err := h.client.Do(req)
	if err != nil {
		return err
	}
	if err := res.Body.Close(); err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("the answer is %s", res.Status)
	}
	return nil
}

// publisher keeps one place up to date. It belongs to one goroutine.
type publisher struct {
	m       *Manager
	name    string
	place   Place
	wake    chan struct{}
	backoff time.Duration
}

// publishedRow is what a place is known to have.
type publishedRow struct {
	Version int    `json:"version"`
	Number  uint64 `json:"number"`
}

func (p *publisher) run(ctx context.Context) error {
	for {
		wait, err := p.round(ctx)
		if err != nil {
			if ctx.Err() != nil || stopped(err) {
				return nil // delivery reports it
			}
			p.m.cfg.Log.Error("publishing checkpoints cannot go on and is tried again", "place", p.name, "err", err)
			wait = faultPause
		}
		var again <-chan time.Time
		if wait > 0 {
			again = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
			if wait > 0 && !pause(ctx, wait) { // it does not like to be asked now
				return nil
			}
		case <-again:
		}
	}
}

// round publishes what the place does not have. It returns how long to wait
// before the next attempt, 0 when there is nothing left to do.
func (p *publisher) round(ctx context.Context) (time.Duration, error) {
	type row struct {
		arn, region string
		checkpointState
	}
	var rows []row
	prefix := checkpointPrefix()
	err := p.m.cfg.Store.Scan(prefix, func(k, v []byte) (bool, error) {
		arn, rest, ok := kv.DecodeString(k[len(prefix):])
		region, _, ok2 := kv.DecodeString(rest)
		if !ok || !ok2 {
			return false, fmt.Errorf("the key %q is damaged", k)
		}
		r := row{arn: arn, region: region}
		err := kv.DecodeRow(v, &r.checkpointState, &r.Version, formatVersion)
		rows = append(rows, r)
		return err == nil, err
	})
	if err != nil {
		return 0, fmt.Errorf("reading the checkpoints: %w", err)
	}
	for i := range rows {
		r := &rows[i]
		key := publishedKey(p.name, r.arn, r.region)
		var has publishedRow
		if _, err := p.m.cfg.Store.GetRow(key, &has, &has.Version, formatVersion); err != nil {
			return 0, err
		}
		if has.Number >= r.Number {
			continue
		}
		if err := p.publish(ctx, r.Signed); err != nil {
			p.backoff = min(max(2*p.backoff, minBackoff), maxBackoff)
			p.m.cfg.Log.Warn("a checkpoint could not be published and is tried again", "place", p.name, "trail", r.arn, "region", r.region,
				"in", p.backoff, "err", err)
			return p.backoff, nil
		}
		p.backoff = 0
		crashpoint.Here("checkpoint.published")
		b := p.m.cfg.Store.NewBatch()
		b.Set(key, kv.MustJSON(publishedRow{formatVersion, r.Number}))
		if err := p.m.cfg.Journal.Commit(b); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

func (p *publisher) publish(ctx context.Context, signed string) error {
	c, err := tree.ParseCheckpoint(signed)
	if err != nil {
		return err
	}
	if !fs.ValidPath(c.Origin) {
		return fmt.Errorf("the origin %q is no path", c.Origin)
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	return p.place.Publish(ctx, c, signed)
}

// published wakes the publishers.
func (m *Manager) published() {
	for _, p := range m.publishers {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}
