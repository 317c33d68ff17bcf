package call

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"spoor/internal/aws"
	"spoor/internal/crashpoint"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
)

// Selector decides which data events are recorded. Implemented by the trails.
type Selector interface {
	// Version changes whenever an answer of Selects may have changed. It is
	// read on every call and must be cheap.
	Version() uint64
	// AnyData reports whether any data event at all is selected.
	AnyData() bool
	// Selects reports whether some trail or event data store wants r.
	Selects(r *record.Record) bool
}

// Wants knows which consumers want more of records than their standard form.
// Implemented by the event data stores.
type Wants interface {
	// Wanted is what consumers of an account and region want, nil for nothing.
	// It is asked on every call and must be cheap.
	Wanted(account, region string) *record.Wanted
}

// ContextKeys is an Authorizer that gives the condition keys that a call was
// judged by.
type ContextKeys interface {
	// ContextKeys are the values of those of the keys that the call has.
	ContextKeys(c *Call, p *Permission, keys []string) map[string]string
}

// Path is the way of a call. All listeners of a server share one.
type Path struct {
	Auth     Authorizer
	Selector Selector
	Journal  *journal.Journal
	Store    *kv.Store
	// Wants knows who wants more of records than their standard form; nil for
	// nobody.
	Wants Wants
	// AlwaysData records data events whether or not something selects them.
	AlwaysData bool
	Now        func() time.Time
	Log        *slog.Logger

	scratch sync.Pool // *buffers
}

type buffers struct {
	json  []byte
	rec   record.Record
	perms []Permission
	// context is what eventContext is made of, nil when nobody wants any.
	context *record.Context
}

// errUnknownOutcome is what a record says of a call whose effect may or may
// not have happened, because the server stopped in between.
var errUnknownOutcome = aws.NewError(aws.Internal, "InternalFailure",
	"The outcome of this call is unknown: the server stopped after the call was forwarded and before its result was recorded.")

// errNotRecorded answers a call that could not be recorded.
func errNotRecorded(err error) error {
	return &aws.Error{Op: "call.Run", Kind: aws.Unavailable, Code: "ServiceUnavailable",
		Message: "The call could not be recorded and was not carried out.", Err: err}
}

// Run walks s: authorise, handle, record. When it returns, the record and the
// call's own writes are on disk; the error, if any, is the call's answer.
//
// The record does not depend on ctx: a client that hangs up cannot suppress
// it. Crash story: before the journal's commit nothing of the call is durable,
// but for an external call's intent, from which recovery makes a record; after
// the commit both writes and record are.
func (p *Path) Run(ctx context.Context, c *Call, s Step) error {
	c.Tx.store = p.Store
	defer c.Tx.release()
	buf := p.buffers()
	defer p.scratch.Put(buf)

	err := p.authorize(ctx, c, s, buf)
	var intent *journal.Intent
	if err == nil && s.External() {
		if intent, err = p.intend(c, s, buf); err != nil {
			return err
		}
		crashpoint.Here("call.intended")
	}
	if err == nil {
		err = s.Handle(ctx, c)
	}
	if intent != nil {
		crashpoint.Here("call.effective")
	}
	if err != nil {
		if derr := c.Tx.discard(); derr != nil {
			return errNotRecorded(derr)
		}
	}
	if rerr := p.record(c, s, buf, err, intent); rerr != nil {
		p.Log.Error("a call could not be recorded and was failed; check the disk and restart",
			"request_id", c.RequestID, "err", rerr)
		return errNotRecorded(rerr)
	}
	c.Tx.committed()
	return err
}

func (p *Path) authorize(ctx context.Context, c *Call, s Step, buf *buffers) error {
	perms, err := s.Permissions(c, buf.perms[:0])
	buf.perms, buf.context = perms, nil
	if err != nil {
		return err
	}
	if len(perms) == 0 {
		return nil
	}
	w := p.wanted(c.AccountID, c.Region)
	if w == nil || len(w.RequestKeys)+len(w.TagKeys) == 0 {
		return p.Auth.Authorize(ctx, c, perms)
	}
	c.Judged = p.Now() // so that the keys of time are those that are recorded
	err = p.Auth.Authorize(ctx, c, perms)
	buf.context = p.context(c, perms, w)
	return err
}

// wanted costs a load of memory when nobody wants anything.
func (p *Path) wanted(account, region string) *record.Wanted {
	if p.Wants == nil {
		return nil
	}
	return p.Wants.Wanted(account, region)
}

// context takes what eventContext is made of: the keys that the call was judged
// by, and the tags that its caller and its resources had then.
func (p *Path) context(c *Call, perms []Permission, w *record.Wanted) *record.Context {
	out := &record.Context{}
	if keys, ok := p.Auth.(ContextKeys); ok && len(w.RequestKeys) > 0 {
		out.Request = keys.ContextKeys(c, &perms[0], w.RequestKeys)
	}
	for _, key := range w.TagKeys {
		if v, ok := c.Caller.Tags[key]; ok {
			if out.Principal == nil {
				out.Principal = map[string]string{}
			}
			out.Principal[key] = v
		}
	}
	seen := map[string]bool{}
	for i := range perms {
		x := &perms[i]
		// Tags are told to nobody but the resource's owner.
		if x.ResourceAccount != "" && x.ResourceAccount != c.AccountID || seen[x.Resource] || strings.ContainsRune(x.Resource, '*') {
			continue
		}
		tags := map[string]string{}
		for _, key := range w.TagKeys {
			if v := x.Context["aws:resourcetag/"+strings.ToLower(key)]; len(v) > 0 {
				tags[key] = v[0]
			}
		}
		if len(tags) > 0 {
			seen[x.Resource] = true
			out.Resources = append(out.Resources, record.TaggedResource{ARN: x.Resource, Tags: tags})
		}
	}
	return out
}

// entry encodes a record in all the forms that somebody wants.
func (p *Path) entry(r *record.Record, buf *buffers) (e []byte) {
	if p.wanted(r.AccountID, r.Region) == nil {
		e, buf.json = r.AppendEntry(nil, buf.json)
	} else {
		e, buf.json = r.AppendEnriched(nil, buf.json, buf.context)
	}
	return e
}

// record makes the call's events durable together with its writes.
//
// A data event is recorded when something selects it at the time of the
// answer: when the selectors change between the decision and the commit, the
// decision is taken again, so that a change holds for every call that is
// answered after the change was.
func (p *Path) record(c *Call, s Step, buf *buffers, outcome error, intent *journal.Intent) error {
	version := p.Selector.Version()
	entries := p.encode(c, s, buf, outcome, nil)
	if len(entries) == 0 && c.Tx.batch == nil && intent == nil {
		if p.Selector.Version() == version {
			return nil
		}
		entries = p.encode(c, s, buf, outcome, nil)
	}
	if len(entries) == 0 && c.Tx.batch == nil && intent == nil {
		return nil
	}
	batch := c.Tx.batch
	c.Tx.batch = nil
	if err := p.Journal.Append(journal.Group{Writes: batch, Entries: entries, Done: intent}); err != nil {
		return err
	}
	if p.Selector.Version() == version {
		return nil
	}
	late := p.encode(c, s, buf, outcome, entries)
	if len(late) == 0 {
		return nil
	}
	return p.Journal.Append(journal.Group{Entries: late})
}

// encode encodes the events that are to be recorded and were not before.
func (p *Path) encode(c *Call, s Step, buf *buffers, outcome error, before []journal.Entry) []journal.Entry {
	n := s.Events()
	var out []journal.Entry
	for i := 0; i < n; i++ {
		if s.Category(i) == record.Data && !p.AlwaysData && !p.Selector.AnyData() {
			continue
		}
		r := &buf.rec
		p.fill(c, r)
		r.Category = s.Category(i)
		if outcome != nil {
			e := aws.AsError(outcome)
			r.ErrorCode, r.ErrorMessage = e.Code, cmp.Or(e.Recorded, e.Message)
		}
		s.Describe(c, i, outcome, r)
		if n > 1 && i > 0 {
			r.EventID = NewID()
		}
		if r.Category == record.Data && !p.AlwaysData && !p.Selector.Selects(r) {
			continue
		}
		if recorded(before, i) {
			continue
		}
		out = append(out, journal.Entry{Account: r.AccountID, Region: r.Region, Index: i, Data: p.entry(r, buf)})
	}
	return out
}

func recorded(before []journal.Entry, i int) bool {
	for _, e := range before {
		if e.Index == i {
			return true
		}
	}
	return false
}

func (p *Path) fill(c *Call, r *record.Record) {
	r.Reset()
	r.Caller, r.Identity = c.Caller, c.Identity
	r.EventTime = p.Now()
	r.EventID, r.RequestID = c.EventID, c.RequestID
	r.Region, r.AccountID = c.Region, c.AccountID
	r.SourceIP, r.UserAgent = c.SourceIP, c.UserAgent
	r.TLS = c.TLS
}

// intend journals what recovery would record if the server stopped now.
func (p *Path) intend(c *Call, s Step, buf *buffers) (*journal.Intent, error) {
	entries := p.encode(c, s, buf, errUnknownOutcome, nil)
	if len(entries) == 0 {
		return nil, nil
	}
	intent, err := p.Journal.Intend(entries)
	if err != nil {
		p.Log.Error("an intent could not be recorded and the call was failed; check the disk and restart",
			"request_id", c.RequestID, "err", err)
		return nil, errNotRecorded(err)
	}
	return intent, nil
}

// Reject records a call that ended before a Step could be made: a failed
// authentication of a known credential, an input that does not parse.
func (p *Path) Reject(c *Call, err error, describe func(r *record.Record)) error {
	buf := p.buffers()
	defer p.scratch.Put(buf)
	r := &buf.rec
	p.fill(c, r)
	e := aws.AsError(err)
	r.ErrorCode, r.ErrorMessage = e.Code, cmp.Or(e.Recorded, e.Message)
	describe(r)
	if r.Category == record.Data && !p.AlwaysData && !p.selected(r) {
		return err
	}
	buf.context = nil
	entry := p.entry(r, buf)
	if jerr := p.Journal.Append(journal.Group{
		Entries: []journal.Entry{{Account: r.AccountID, Region: r.Region, Data: entry}},
	}); jerr != nil {
		return errNotRecorded(errors.Join(jerr, err))
	}
	return err
}

// selected reports whether something selects a data event, by selectors that
// did not change meanwhile.
func (p *Path) selected(r *record.Record) bool {
	for {
		version := p.Selector.Version()
		if p.Selector.AnyData() && p.Selector.Selects(r) {
			return true
		}
		if p.Selector.Version() == version {
			return false
		}
	}
}

func (p *Path) buffers() *buffers {
	if b, ok := p.scratch.Get().(*buffers); ok {
		return b
	}
	return &buffers{}
}
