package trail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
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
// A place that holds files gets the tree's tiles too (tiles.go).
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
// in this server's object storage, put+http(s)://host/prefix of a server that
// takes files by PUT, or the http(s) URL to post checkpoints to.
func ParsePlace(name string, bucket Bucket) (Place, error) {
	u, err := url.Parse(name)
	if err != nil {
		return nil, fmt.Errorf("%q is not a URL: %w", name, err)
	}
	switch {
	case u.Scheme == "file" && u.Host == "" && filepath.IsAbs(u.Path):
		return filesPlace{dirFiles(u.Path)}, nil
	case u.Scheme == "s3" && u.Host != "":
		return filesPlace{bucketFiles{bucket, u.Host, strings.Trim(u.Path, "/")}}, nil
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
		return httpPlace{name, &http.Client{Timeout: publishTimeout}}, nil
	case (u.Scheme == "put+http" || u.Scheme == "put+https") && u.Host != "" && u.RawQuery == "":
		return filesPlace{httpFiles{strings.TrimSuffix(strings.TrimPrefix(name, "put+"), "/"), &http.Client{Timeout: publishTimeout}}}, nil
	}
	return nil, fmt.Errorf("%q is none of file:///directory, s3://bucket/prefix, http(s)://… to post to and put+http(s)://… to put files below", name)
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
	files   files // nil where the place takes no tiles
	wake    chan struct{}
	backoff time.Duration
	// bare are the trees that get no tiles here for as long as the process runs.
	bare    map[string]bool
	recalls map[string]*recalling
}

func newPublisher(m *Manager, name string, tiles bool) (*publisher, error) {
	place, err := ParsePlace(name, m.cfg.Bucket)
	if err != nil {
		return nil, fmt.Errorf("a place for checkpoints: %w", err)
	}
	p := &publisher{m: m, name: name, place: place, wake: make(chan struct{}, 1), bare: map[string]bool{}, recalls: map[string]*recalling{}}
	if f, ok := place.(filesPlace); ok && tiles {
		p.files = f.files
	}
	return p, nil
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

// newest is the newest checkpoint of a trail in a region.
type newest struct {
	arn, region string
	checkpointState
}

// round publishes what the place does not have. It returns how long to wait
// before the next attempt, 0 when there is nothing left to do.
func (p *publisher) round(ctx context.Context) (time.Duration, error) {
	var rows []newest
	prefix := checkpointPrefix()
	err := p.m.cfg.Store.Scan(prefix, func(k, v []byte) (bool, error) {
		arn, rest, ok := kv.DecodeString(k[len(prefix):])
		region, _, ok2 := kv.DecodeString(rest)
		if !ok || !ok2 {
			return false, fmt.Errorf("the key %q is damaged", k)
		}
		r := newest{arn: arn, region: region}
		err := kv.DecodeRow(v, &r.checkpointState, &r.Version, formatVersion)
		rows = append(rows, r)
		return err == nil, err
	})
	if err != nil {
		return 0, fmt.Errorf("reading the checkpoints: %w", err)
	}
	failed := false
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
		tiles, err := p.publish(ctx, r)
		if err != nil {
			if stopped(err) {
				return 0, err
			}
			if !failed {
				failed, p.backoff = true, min(max(2*p.backoff, minBackoff), maxBackoff)
			}
			p.m.cfg.Log.Warn("a checkpoint could not be published and is tried again", "place", p.name, "trail", r.arn, "region", r.region,
				"in", p.backoff, "err", err)
			if isUnreachable(err) {
				break // for the other trees as well
			}
			continue // what is wrong with one tree holds up no other
		}
		crashpoint.Here("checkpoint.published")
		b := p.m.cfg.Store.NewBatch()
		b.Set(key, kv.MustJSON(publishedRow{formatVersion, r.Number}))
		if tiles != nil {
			b.Set(tilesKey(p.name, r.arn, r.region), kv.MustJSON(tiles))
		}
		if err := p.m.cfg.Journal.Commit(b); err != nil {
			return 0, err
		}
		if tiles != nil {
			if err := p.prune(r.arn, r.region); err != nil {
				return 0, err
			}
		}
	}
	if failed {
		return p.backoff, nil
	}
	p.backoff = 0
	return 0, nil
}

// isUnreachable reports whether an attempt met the network, or no answer in time.
func isUnreachable(err error) bool {
	// net.Error would take in every errno, a full directory's as well.
	var request *url.Error
	var network *net.OpError
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &request) || errors.As(err, &network)
}

// publish is one attempt at a checkpoint, with the tiles before it.
func (p *publisher) publish(ctx context.Context, r *newest) (*tilesRow, error) {
	c, err := tree.ParseCheckpoint(r.Signed)
	if err != nil {
		return nil, err
	}
	if !fs.ValidPath(c.Origin) {
		return nil, fmt.Errorf("the origin %q is no path", c.Origin)
	}
	var tiles *tilesRow
	if p.files != nil && !p.bare[c.Origin] {
		tiles, err = p.tiles(ctx, r, c)
		if errors.Is(err, errNoLeaves) {
			p.m.cfg.Log.Warn("the place gets checkpoints of the tree without tiles", "place", p.name, "tree", c.Origin, "err", err)
			p.bare[c.Origin], err = true, nil
		}
		if err != nil {
			return nil, err
		}
	}
	if p.files != nil && tiles == nil {
		if _, err := p.has(ctx, c); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	return tiles, p.place.Publish(ctx, c, r.Signed)
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
