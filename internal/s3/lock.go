package s3

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"spoor/internal/aws"
	"spoor/internal/objects"
)

// Object Lock: versions of objects that nobody can delete before a date, or
// before a legal hold ends (S3 user guide, "Locking objects with Object Lock").
//
// The storage keeps what each version is locked with and refuses what a lock
// forbids. A bucket's default retention is kept here and sent with each upload
// as that object's own, so that it means the same on every storage: it is the
// object's, from its upload on, whatever becomes of the default. What may
// bypass a lock is decided here, as all permissions are: the storage takes the
// front for its root.

// Limits of a default retention, and of a retention in a request (S3 API
// reference, DefaultRetention; the latter is S3's for 100 years).
const (
	maxRetentionDays  = 36500
	maxRetentionYears = 100
)

// Lock is a bucket's Object Lock, which is never turned off again. Mode is
// empty without a default retention.
type Lock struct {
	Mode  string `json:"mode,omitempty"`
	Days  int    `json:"days,omitempty"`
	Years int    `json:"years,omitempty"`
}

// Until is when the default retention of an object made now ends.
func (l *Lock) Until(now time.Time) time.Time { return now.AddDate(l.Years, 0, l.Days) }

// DefaultLock is what an object made now in a bucket is locked with; nil for
// nothing.
func (g *Registry) DefaultLock(bucket string, now time.Time) *objects.Lock {
	b, ok := g.Bucket(bucket)
	if !ok || b.Lock == nil || b.Lock.Mode == "" {
		return nil
	}
	return &objects.Lock{Mode: b.Lock.Mode, Until: b.Lock.Until(now)}
}

// DefaultRetention is a bucket's default retention; nil for none.
func (g *Registry) DefaultRetention(bucket string) *Lock {
	if b, ok := g.Bucket(bucket); ok && b.Lock != nil && b.Lock.Mode != "" {
		return b.Lock
	}
	return nil
}

func validMode(mode string) bool {
	return mode == string(types.ObjectLockModeCompliance) || mode == string(types.ObjectLockModeGovernance)
}

type lockConfiguration struct {
	XMLName           xml.Name `xml:"ObjectLockConfiguration"`
	ObjectLockEnabled string
	Rule              *struct {
		DefaultRetention *struct {
			Mode        string
			Days, Years *int
		}
	}
}

// lock checks a configuration.
func (c *lockConfiguration) lock() (*Lock, error) {
	if c.ObjectLockEnabled != "Enabled" {
		return nil, malformed()
	}
	l := &Lock{}
	if c.Rule == nil {
		return l, nil
	}
	r := c.Rule.DefaultRetention
	switch {
	case r == nil, !validMode(r.Mode), (r.Days == nil) == (r.Years == nil):
		return nil, malformed()
	case r.Days != nil && *r.Days <= 0, r.Years != nil && *r.Years <= 0:
		return nil, failure(http.StatusBadRequest, "InvalidArgument", "Default retention period must be a positive integer value.")
	case r.Days != nil && *r.Days > maxRetentionDays, r.Years != nil && *r.Years > maxRetentionYears:
		return nil, failure(http.StatusBadRequest, "InvalidArgument", "Default retention period too large.")
	}
	l.Mode = r.Mode
	if r.Days != nil {
		l.Days = *r.Days
	} else {
		l.Years = *r.Years
	}
	return l, nil
}

func (f *Front) getLock(s *step) error {
	l := s.bucket.Lock
	if l == nil {
		return failure(http.StatusNotFound, "ObjectLockConfigurationNotFoundError", "Object Lock configuration does not exist for this bucket")
	}
	var b strings.Builder
	element(&b, "ObjectLockEnabled", "Enabled")
	if l.Mode != "" {
		b.WriteString("<Rule><DefaultRetention>")
		element(&b, "Mode", l.Mode)
		if l.Days > 0 {
			element(&b, "Days", strconv.Itoa(l.Days))
		} else {
			element(&b, "Years", strconv.Itoa(l.Years))
		}
		b.WriteString("</DefaultRetention></Rule>")
	}
	return s.reply(http.StatusOK, "ObjectLockConfiguration", b.String())
}

// lockEnabled is the configuration that the storage is given: Object Lock
// without a default.
const lockEnabled = xml.Header + `<ObjectLockConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>`

// putLock turns Object Lock on, or changes the default retention. Crash story:
// between the storage and the registry, the storage locks objects of a bucket
// that does not ask for it yet; the call's record says that its outcome is
// unknown, and making it again sets both.
func (f *Front) putLock(s *step) error {
	body, err := s.readBody()
	if err != nil {
		return err
	}
	var conf lockConfiguration
	if err := xml.Unmarshal(body, &conf); err != nil {
		return malformed()
	}
	l, err := conf.lock()
	if err != nil {
		return err
	}
	b, err := f.Registry.change(s.c, s.target.bucket)
	if err != nil {
		return err
	}
	if b.Lock == nil {
		if !b.Versioned {
			return notVersioned()
		}
		if err := s.lockStorage(s.req.Context()); err != nil {
			return err
		}
	}
	b.Lock = l
	if err := f.Registry.put(s.c, b); err != nil {
		return err
	}
	return s.done(http.StatusOK)
}

func notVersioned() error {
	return failure(http.StatusConflict, "InvalidBucketState", "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration")
}

// lockStorage turns Object Lock on in the storage, which refuses a bucket whose
// versions are suspended.
func (s *step) lockStorage(ctx context.Context) error {
	body := []byte(lockEnabled)
	extra := http.Header{"Content-Type": {"application/xml"}, "Content-Md5": nil, "X-Amz-Checksum-Crc32": {crc32Base64(body)}}
	for _, h := range forwardedHeaders {
		if strings.HasPrefix(h, "X-Amz-Checksum-") && h != "X-Amz-Checksum-Crc32" || strings.HasPrefix(h, "X-Amz-Sdk-") {
			extra[h] = nil // of another body
		}
	}
	res, err := s.send(ctx, bytes.NewReader(body), int64(len(body)), extra)
	if err != nil {
		return err
	}
	if err := res.Body.Close(); err != nil {
		return err
	}
	return s.front.Store.SyncVersions()
}

// found says what a bucket that the storage has already, of a creation that was
// not finished, is like.
func (s *step) found(ctx context.Context, b *Bucket) error {
	client := s.front.Store.Client()
	v, err := client.GetBucketVersioning(ctx, &sdk.GetBucketVersioningInput{Bucket: &b.Name})
	if err != nil {
		return fmt.Errorf("looking at a bucket of the storage: %w", err)
	}
	b.Versioned = v.Status != ""
	lock, err := client.GetObjectLockConfiguration(ctx, &sdk.GetObjectLockConfigurationInput{Bucket: &b.Name})
	var api smithy.APIError
	switch {
	case err == nil && lock.ObjectLockConfiguration != nil:
		b.Lock = &Lock{}
		if r := lock.ObjectLockConfiguration.Rule; r != nil && r.DefaultRetention != nil {
			b.Lock.Mode = string(r.DefaultRetention.Mode)
			if r.DefaultRetention.Days != nil {
				b.Lock.Days = int(*r.DefaultRetention.Days)
			}
			if r.DefaultRetention.Years != nil {
				b.Lock.Years = int(*r.DefaultRetention.Years)
			}
		}
	case err != nil && !errors.As(err, &api):
		return fmt.Errorf("looking at a bucket of the storage: %w", err)
	}
	return nil
}

// locking is what a request says about locks, in its headers or its body.
type locking struct {
	mode, until, hold string
	bypass            bool
}

// locks reads what the request says about locks.
func (s *step) locks() (locking, error) {
	h := s.req.Header
	l := locking{mode: h.Get("X-Amz-Object-Lock-Mode"), until: h.Get("X-Amz-Object-Lock-Retain-Until-Date"), hold: h.Get("X-Amz-Object-Lock-Legal-Hold"),
		bypass: strings.EqualFold(h.Get("X-Amz-Bypass-Governance-Retention"), "true")}
	switch s.target.op.name {
	case "PutObject", "CopyObject", "CreateMultipartUpload":
		l.bypass = false
		return l, l.check(s.c.Start)
	case "DeleteObject", "DeleteObjects":
		return locking{bypass: l.bypass}, nil
	case "PutObjectRetention":
		body, err := s.readBody()
		if err != nil {
			return l, err
		}
		var r struct {
			XMLName               xml.Name `xml:"Retention"`
			Mode, RetainUntilDate string
		}
		if err := xml.Unmarshal(body, &r); err != nil || r.Mode == "" || r.RetainUntilDate == "" {
			return l, malformed()
		}
		l = locking{mode: r.Mode, until: r.RetainUntilDate, bypass: l.bypass}
		if !validMode(l.mode) {
			return l, malformed()
		}
		return l, l.check(s.c.Start)
	case "PutObjectLegalHold":
		body, err := s.readBody()
		if err != nil {
			return l, err
		}
		var r struct {
			XMLName xml.Name `xml:"LegalHold"`
			Status  string
		}
		if err := xml.Unmarshal(body, &r); err != nil || r.Status != "ON" && r.Status != "OFF" {
			return l, malformed()
		}
		return locking{hold: r.Status}, nil
	}
	return locking{}, nil
}

func (l *locking) check(now time.Time) error {
	invalid := func(message string) error { return failure(http.StatusBadRequest, "InvalidArgument", message) }
	switch {
	case (l.mode == "") != (l.until == ""):
		return invalid("x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied")
	case l.hold != "" && l.hold != "ON" && l.hold != "OFF":
		return invalid("Legal Hold must be either of 'ON' or 'OFF'")
	case l.mode == "":
		return nil
	case !validMode(l.mode):
		return invalid("Unknown wormMode directive.")
	}
	until, err := time.Parse(time.RFC3339, l.until)
	switch {
	case err != nil:
		return invalid("The retain until date must be provided in ISO 8601 format")
	case !until.After(now):
		return invalid("The retain until date must be in the future!")
	case until.After(now.AddDate(maxRetentionYears, 0, 1)):
		return invalid("The retain until date is too far in the future")
	}
	return nil
}

// conditionKeys are those about locks (service authorization reference,
// "Condition keys for Amazon S3").
func (l *locking) conditionKeys(keys map[string][]string, now time.Time) {
	if l.mode != "" {
		keys["s3:object-lock-mode"] = []string{l.mode}
	}
	if t, err := time.Parse(time.RFC3339, l.until); err == nil {
		keys["s3:object-lock-retain-until-date"] = []string{t.UTC().Format(time.RFC3339)}
		// Days that have begun count.
		days := (t.Sub(now) + 24*time.Hour - 1) / (24 * time.Hour)
		keys["s3:object-lock-remaining-retention-days"] = []string{strconv.FormatInt(int64(days), 10)}
	}
	if l.hold != "" {
		keys["s3:object-lock-legal-hold"] = []string{l.hold}
	}
}

// actions are the permissions that what a request says about locks needs beside
// its operation's own.
func (l *locking) actions(op string) []string {
	var out []string
	switch op {
	case "PutObject", "CopyObject", "CreateMultipartUpload":
		if l.mode != "" {
			out = append(out, "s3:PutObjectRetention")
		}
		if l.hold != "" {
			out = append(out, "s3:PutObjectLegalHold")
		}
	}
	return out
}

// bypasses reports whether a request that asks to bypass governance may do so
// for an object. Who may not is not refused: an object without a lock needs no
// bypass, and of others the storage says that they are locked.
func (s *step) bypasses(ctx context.Context, key string) (bool, error) {
	if !s.locking.bypass {
		return false, nil
	}
	err := s.may(ctx, s.permission(s.c, "s3:BypassGovernanceRetention", s.target.bucket, key, s.conditionKeys(s.c)))
	if err != nil && aws.AsError(err).Kind != aws.Denied {
		return false, err
	}
	return err == nil, nil
}

// lockHeaders are the headers about locks that the storage gets with a request.
func (s *step) lockHeaders(ctx context.Context) (http.Header, error) {
	out := http.Header{}
	l := s.locking
	switch s.target.op.name {
	case "PutObject", "CopyObject", "CreateMultipartUpload":
		if s.bucket.Lock == nil && (l.mode != "" || l.hold != "") {
			return nil, failure(http.StatusBadRequest, "InvalidRequest", "Bucket is missing Object Lock Configuration")
		}
		if l.mode == "" {
			if d := s.front.Registry.DefaultLock(s.bucket.Name, s.c.Start); d != nil {
				l.mode, l.until = d.Mode, d.Until.UTC().Format(time.RFC3339)
			}
		}
		if l.mode != "" {
			out["X-Amz-Object-Lock-Mode"], out["X-Amz-Object-Lock-Retain-Until-Date"] = []string{l.mode}, []string{l.until}
		}
		if l.hold != "" {
			out["X-Amz-Object-Lock-Legal-Hold"] = []string{l.hold}
		}
		if s.target.op.name == "PutObject" && len(out) > 0 && !s.checked() {
			return nil, failure(http.StatusBadRequest, "InvalidRequest", "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters")
		}
	}
	if may, err := s.bypasses(ctx, s.target.key); err != nil {
		return nil, err
	} else if may {
		out["X-Amz-Bypass-Governance-Retention"] = []string{"true"}
	}
	return out, nil
}

// checked reports whether the request says what its body's checksum is.
func (s *step) checked() bool {
	if s.req.Header.Get("Content-Md5") != "" || strings.HasPrefix(strings.ToLower(s.req.Header.Get("X-Amz-Trailer")), "x-amz-checksum-") {
		return true
	}
	for h := range s.req.Header {
		if strings.HasPrefix(h, "X-Amz-Checksum-") && h != "X-Amz-Checksum-Mode" && h != "X-Amz-Checksum-Type" && h != "X-Amz-Checksum-Algorithm" {
			return true
		}
	}
	return false
}

func locked() error {
	return failure(http.StatusForbidden, "AccessDenied", "Access Denied because object protected by object lock.")
}

// onHold reports whether a legal hold protects a version. The embedded storage
// stops looking once it finds a retention that has ended.
func (s *step) onHold(ctx context.Context, key, version string) (bool, error) {
	if version == "" || s.bucket.Lock == nil {
		return false, nil // a delete marker hides, and deletes nothing
	}
	out, err := s.front.Store.Client().GetObjectLegalHold(ctx, &sdk.GetObjectLegalHoldInput{Bucket: &s.bucket.Name, Key: &key, VersionId: &version})
	var api smithy.APIError
	switch {
	case errors.As(err, &api):
		return false, nil // a marker, or nothing: the deletion itself will say so
	case err != nil:
		return false, &aws.Error{Op: "s3.forward", Kind: aws.Unavailable, Code: "ServiceUnavailable", Message: "The object storage does not answer.", Err: err}
	}
	return out.LegalHold != nil && out.LegalHold.Status == types.ObjectLockLegalHoldStatusOn, nil
}

// addLocks says in an answer about an earlier version what it is locked with,
// which the embedded storage leaves out.
func (s *step) addLocks(ctx context.Context) {
	version := s.target.query.Get("versionId")
	if version == "" || s.bucket.Lock == nil || !s.front.Store.Embedded() || s.res.Header.Get("X-Amz-Object-Lock-Mode") != "" {
		return
	}
	// Errors say that there is no lock.
	client, key := s.front.Store.Client(), s.target.key
	if out, err := client.GetObjectRetention(ctx, &sdk.GetObjectRetentionInput{Bucket: &s.bucket.Name, Key: &key, VersionId: &version}); err == nil && out.Retention != nil && out.Retention.RetainUntilDate != nil {
		s.res.Header.Set("X-Amz-Object-Lock-Mode", string(out.Retention.Mode))
		s.res.Header.Set("X-Amz-Object-Lock-Retain-Until-Date", out.Retention.RetainUntilDate.UTC().Format(time.RFC3339))
	}
	if out, err := client.GetObjectLegalHold(ctx, &sdk.GetObjectLegalHoldInput{Bucket: &s.bucket.Name, Key: &key, VersionId: &version}); err == nil && out.LegalHold != nil {
		s.res.Header.Set("X-Amz-Object-Lock-Legal-Hold", string(out.LegalHold.Status))
	}
}

// hideLocks takes what an answer says about locks out of it for who may not
// know it (S3 API reference, GetObject: the header is returned only if the
// requester has the permission).
func (s *step) hideLocks(ctx context.Context) error {
	for action, headers := range map[string][]string{
		"s3:GetObjectRetention": {"X-Amz-Object-Lock-Mode", "X-Amz-Object-Lock-Retain-Until-Date"},
		"s3:GetObjectLegalHold": {"X-Amz-Object-Lock-Legal-Hold"},
	} {
		if !slices.ContainsFunc(headers, func(h string) bool { return s.res.Header.Get(h) != "" }) {
			continue
		}
		err := s.may(ctx, s.permission(s.c, action, s.target.bucket, s.target.key, s.conditionKeys(s.c)))
		if err == nil {
			continue
		}
		if e := aws.AsError(err); e.Kind != aws.Denied {
			return err
		}
		for _, h := range headers {
			s.res.Header.Del(h)
		}
	}
	return nil
}
