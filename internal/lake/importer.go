package lake

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
)

// Source is the object storage that imports read. Calls are tried again by the
// importer.
type Source interface {
	// List calls fn for the keys that begin with prefix and come after after,
	// in order, until fn returns false.
	List(ctx context.Context, bucket, prefix, after string, fn func(key string) bool) error
	// May reports whether an import may read an object: both who started it and
	// its role, by the policies as they are now.
	May(ctx context.Context, i *Import, key string) (bool, error)
	// Open opens an object. ErrNoObject when it is not there.
	Open(ctx context.Context, bucket, key string) (io.ReadCloser, error)
}

// ErrNoObject is wrapped when an object or its bucket is not there.
var ErrNoObject = errors.New("lake: no such object")

// The states of an import, by AWS's names.
const (
	ImportStarting = "INITIALIZING"
	ImportRunning  = "IN_PROGRESS"
	ImportFailed   = "FAILED"
	ImportStopped  = "STOPPED"
	ImportDone     = "COMPLETED"
)

// Limits on what an import reads. A log file is at most 50 MB compressed
// (CloudTrail user guide); the second one bounds what a hostile archive unpacks
// to.
const (
	maxImportFile  = 64 << 20
	maxImportPlain = 1 << 30
	maxImportEvent = 1 << 20
	// maxFailures is how many failures of one import are kept.
	maxFailures = 10_000
	importTries = 3
)

// Import is an import of trail logs into a store.
type Import struct {
	Version   int       `json:"version"`
	ID        string    `json:"id"`
	Account   string    `json:"account"`
	Region    string    `json:"region"`
	Store     string    `json:"store"` // ARN
	StoreID   string    `json:"storeId"`
	URI       string    `json:"uri"`
	Bucket    string    `json:"bucket"`
	Prefix    string    `json:"prefix"`
	BucketIn  string    `json:"bucketRegion"`
	Role      string    `json:"role"`
	From      time.Time `json:"from,omitzero"` // of events; zero for no bound
	To        time.Time `json:"to,omitzero"`
	Status    string    `json:"status"`
	Created   time.Time `json:"created"`
	Updated   time.Time `json:"updated"`
	After     string    `json:"after,omitempty"` // the last key that is done
	Prefixes  int64     `json:"prefixes"`
	Completed int64     `json:"completedPrefixes"`
	Files     int64     `json:"files"`
	Events    int64     `json:"events"`
	Failures  int64     `json:"failures"`
	// Caller is who started it, or started it again last, and the rest what the
	// policies may ask of that call. Nil for an import of before they were kept.
	Caller    *aws.Caller `json:"caller,omitempty"`
	SourceIP  string      `json:"sourceIp,omitempty"`
	UserAgent string      `json:"userAgent,omitempty"`
	TLS       *record.TLS `json:"tls,omitempty"`
}

// StartedBy notes whose rights an import reads with.
func (i *Import) StartedBy(c *call.Call) {
	i.Caller, i.SourceIP, i.UserAgent, i.TLS = c.Caller, c.SourceIP, c.UserAgent, c.TLS
}

// Failure is a file that an import could not take, or not wholly.
type Failure struct {
	Location string    `json:"location"`
	Status   string    `json:"status"` // FAILED, RETRY or SUCCEEDED
	Type     string    `json:"type"`
	Message  string    `json:"message"`
	Time     time.Time `json:"time"`
}

// Going reports whether an import is under way.
func (i *Import) Going() bool { return i.Status == ImportStarting || i.Status == ImportRunning }

func importKey(account, region, id string) []byte {
	return kv.Key(kv.SpaceLake, "import", account, region, id)
}

func failureKey(id, location string) []byte {
	return kv.Key(kv.SpaceLake, "import-failure", id, location)
}

// PutImport writes an import in the call's transaction and sees that it is
// worked on. The caller holds Lock.
func (m *Manager) PutImport(c *call.Call, i *Import) {
	i.Version = formatVersion
	c.Tx.Set(importKey(i.Account, i.Region, i.ID), kv.MustJSON(i))
	c.Tx.OnCommit(func() {
		select {
		case m.imports <- struct{}{}:
		default:
		}
	})
}

// Import returns an import, or nil.
func (m *Manager) Import(account, region, id string) (*Import, error) {
	b, err := m.cfg.Store.Get(importKey(account, region, id))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	i := &Import{}
	return i, kv.DecodeRow(b, i, &i.Version, formatVersion)
}

// Imports lists the imports of an account in a region, ordered by id; all
// there are with an empty account.
func (m *Manager) Imports(account, region string) ([]*Import, error) {
	prefix := kv.Key(kv.SpaceLake, "import")
	if account != "" {
		prefix = kv.Key(kv.SpaceLake, "import", account, region)
	}
	var out []*Import
	err := m.cfg.Store.Scan(prefix, func(_, v []byte) (bool, error) {
		i := &Import{}
		out = append(out, i)
		return true, kv.DecodeRow(v, i, &i.Version, formatVersion)
	})
	if err != nil {
		return nil, fmt.Errorf("listing the imports: %w", err)
	}
	return out, nil
}

// ImportFailures lists what an import could not take, ordered by location.
func (m *Manager) ImportFailures(id string) ([]Failure, error) {
	var out []Failure
	err := m.cfg.Store.Scan(kv.Key(kv.SpaceLake, "import-failure", id), func(_, v []byte) (bool, error) {
		var f Failure
		err := json.Unmarshal(v, &f)
		out = append(out, f)
		return err == nil, err
	})
	if err != nil {
		return nil, fmt.Errorf("listing the failures of import %s: %w", id, err)
	}
	return out, nil
}

// RunImports works on the imports until ctx ends, one file at a time.
//
// Crash story: a file's events, the import's progress past that file and its
// failures are one batch. A file is read again after a crash and writes the
// same keys.
func (m *Manager) RunImports(ctx context.Context) error {
	for ctx.Err() == nil {
		list, err := m.Imports("", "")
		for _, i := range list {
			if err == nil && i.Going() {
				err = m.work(ctx, i.Account, i.Region, i.ID)
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, journal.ErrClosed) || errors.Is(err, journal.ErrFailed):
			return err
		case err != nil:
			m.cfg.Log.Error("an import cannot go on and is tried again", "pause", faultPause, "err", err)
			wait(ctx, faultPause, nil)
		default:
			wait(ctx, expiryPause, m.imports)
		}
	}
	return nil
}

// progress changes an import under the lock, unless it is no longer under way.
// It reports whether it still is.
func (m *Manager) progress(i *Import, fn func(i *Import, b *kv.Batch)) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, err := m.Import(i.Account, i.Region, i.ID)
	if err != nil || now == nil || !now.Going() {
		return false, err
	}
	b := m.cfg.Store.NewBatch()
	fn(now, b)
	now.Updated = m.Now()
	b.Set(importKey(now.Account, now.Region, now.ID), kv.MustJSON(now))
	return now.Going(), m.cfg.Journal.Commit(b)
}

// work carries an import out from where it is.
func (m *Manager) work(ctx context.Context, account, region, id string) error {
	i, err := m.Import(account, region, id)
	if err != nil || i == nil {
		return err
	}
	goes, err := m.progress(i, func(i *Import, _ *kv.Batch) { i.Status, i.Prefixes = ImportRunning, 1 })
	if err != nil || !goes {
		return err
	}
	var keys []string
	list := func() error {
		keys = keys[:0]
		return m.cfg.Source.List(ctx, i.Bucket, i.Prefix, i.After, func(key string) bool {
			if logFile(key) {
				keys = append(keys, key)
			}
			return len(keys) < maxFailures
		})
	}
	for ctx.Err() == nil {
		if err := list(); err != nil {
			return m.endFailed(i, err)
		}
		if len(keys) == 0 {
			_, err := m.progress(i, func(i *Import, _ *kv.Batch) {
				i.Completed, i.Status = 1, ImportDone
				if i.Failures > 0 {
					i.Status = ImportFailed
				}
			})
			return err
		}
		for _, key := range keys {
			if goes, err := m.importFile(ctx, i, key); err != nil || !goes {
				return err
			}
			i.After = key
		}
	}
	return nil
}

// endFailed ends an import whose bucket is gone; other errors are tried again.
func (m *Manager) endFailed(i *Import, err error) error {
	if !errors.Is(err, ErrNoObject) {
		return err
	}
	_, perr := m.progress(i, func(i *Import, b *kv.Batch) {
		i.Status = ImportFailed
		i.Failures++
		b.Set(failureKey(i.ID, i.URI), kv.MustJSON(Failure{i.URI, "FAILED", "NoSuchBucket", "The bucket does not exist.", m.Now()}))
	})
	return perr
}

// logFile reports whether a key is a trail's log file.
func logFile(key string) bool {
	return strings.HasSuffix(key, ".json.gz") && !strings.Contains(key, "/CloudTrail-Digest/") && !strings.Contains(key, "/CloudTrail-Insight/") &&
		!strings.Contains(key, "/CloudTrail-Aggregated/")
}

type importEvent struct {
	when time.Time
	json []byte
}

// importFile takes one file, whole or not at all.
func (m *Manager) importFile(ctx context.Context, i *Import, key string) (goes bool, err error) {
	var events []importEvent
	for try := 1; ; try++ {
		events, err = m.readFile(ctx, i, key)
		if err == nil || try == importTries || errors.Is(err, ErrNoObject) || ctx.Err() != nil || errors.As(err, new(*badFile)) {
			break
		}
	}
	if ctx.Err() != nil {
		return false, nil
	}
	if st := m.Lookup(i.Store); st == nil || !st.Deleted.IsZero() {
		err = &badFile{"InactiveEventDataStore", "The event data store takes no events."}
	}
	file := sha256.Sum256([]byte(i.ID + "\x00" + i.Bucket + "\x00" + key))
	return m.progress(i, func(now *Import, b *kv.Batch) {
		now.After = key
		if err != nil {
			now.Failures++
			if now.Failures <= maxFailures {
				location := "s3://" + i.Bucket + "/" + key
				b.Set(failureKey(i.ID, location), kv.MustJSON(failureOf(location, err, m.Now())))
			}
			return
		}
		now.Files++
		now.Events += int64(len(events))
		for n, e := range events {
			id := binary.BigEndian.AppendUint32(append([]byte(nil), file[:16]...), uint32(n))
			b.Set(eventKey(nil, i.StoreID, e.when, FromImport, id), e.json)
		}
	})
}

func failureOf(location string, err error, now time.Time) Failure {
	var bad *badFile
	switch {
	case errors.As(err, &bad):
		return Failure{location, "FAILED", bad.kind, bad.message, now}
	case errors.Is(err, ErrNoObject):
		return Failure{location, "FAILED", "NoSuchKey", "The file does not exist.", now}
	}
	return Failure{location, "FAILED", "InternalFailure", "The file could not be read.", now}
}

// badFile says what is wrong with a file; reading it again does not help.
type badFile struct{ kind, message string }

func (e *badFile) Error() string { return e.message }

// readFile reads the events of a log file that lie in the import's times.
func (m *Manager) readFile(ctx context.Context, i *Import, key string) ([]importEvent, error) {
	// StartImport was asked for the prefix, under which a policy may deny more.
	may, err := m.cfg.Source.May(ctx, i, key)
	if err != nil {
		return nil, fmt.Errorf("asking whether import %s may read %s: %w", i.ID, key, err)
	}
	if !may {
		return nil, &badFile{"AccessDenied", "Access Denied"}
	}
	r, err := m.cfg.Source.Open(ctx, i.Bucket, key)
	if err != nil {
		return nil, err
	}
	events, err := ReadLog(r, i.From, i.To)
	return events, errors.Join(err, r.Close())
}

// ReadLog reads a trail's log file: the events between two times, a zero one
// being no bound.
func ReadLog(r io.Reader, from, to time.Time) ([]importEvent, error) {
	packed := &io.LimitedReader{R: r, N: maxImportFile + 1}
	z, err := gzip.NewReader(bufio.NewReader(packed))
	if err != nil {
		return nil, unpackError(err)
	}
	plain, err := io.ReadAll(io.LimitReader(z, maxImportPlain+1))
	if err != nil {
		return nil, unpackError(err)
	}
	if packed.N == 0 || len(plain) > maxImportPlain {
		return nil, &badFile{"FileTooLarge", "The file is larger than a log file can be."}
	}
	var file struct{ Records []json.RawMessage }
	if err := json.Unmarshal(plain, &file); err != nil || file.Records == nil {
		return nil, &badFile{"InvalidFormat", "The file is not a CloudTrail log file."}
	}
	out := make([]importEvent, 0, len(file.Records))
	for _, raw := range file.Records {
		var head struct {
			EventTime time.Time `json:"eventTime"`
			EventID   string    `json:"eventID"`
		}
		if err := json.Unmarshal(raw, &head); err != nil || head.EventTime.IsZero() || head.EventID == "" || len(raw) > maxImportEvent || !Storable(raw, head.EventTime) {
			return nil, &badFile{"InvalidFormat", "The file holds a record that is not an event."}
		}
		if !from.IsZero() && head.EventTime.Before(from) || !to.IsZero() && head.EventTime.After(to) {
			continue
		}
		var b bytes.Buffer
		if err := json.Compact(&b, raw); err != nil {
			return nil, &badFile{"InvalidFormat", "The file is not valid JSON."}
		}
		out = append(out, importEvent{head.EventTime, b.Bytes()})
	}
	return out, nil
}

// unpackError tells a file that is no archive from one that cannot be read.
func unpackError(err error) error {
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		strings.Contains(err.Error(), "flate") {
		return &badFile{"InvalidFormat", "The file is not a whole gzip archive."}
	}
	return err
}
