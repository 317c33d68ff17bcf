package crash

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// judge says everything that is wrong with the evidence.
func judge(e *evidence) []string {
	j := &judgement{evidence: e}
	j.bucket()
	j.calls("the bucket", e.delivered, false)
	j.calls("the event data store", e.lake, false)
	j.calls("event history", e.looked, true)
	j.numbers()
	j.store()
	j.history()
	j.tail()
	j.effects()
	j.audit()
	j.notifications()
	for how, got := range map[string][2]int{"with columnar twins": e.athena, "without columnar twins": e.plain} {
		if n := len(e.delivered); got != [2]int{n, n} {
			j.find("Athena counts %d events with %d ids in the bucket, which has %d, %s", got[0], got[1], n, how)
		}
	}
	return j.findings
}

type judgement struct {
	*evidence
	findings []string
	byID     map[string]*event // delivered
}

// maxFindings keeps one cause from printing a page.
const maxFindings = 40

func (j *judgement) find(format string, args ...any) {
	if len(j.findings) < maxFindings {
		j.findings = append(j.findings, fmt.Sprintf(format, args...))
	}
}

// once reports events that are there twice.
func (j *judgement) once(where string, events []event) map[string]*event {
	byID := make(map[string]*event, len(events))
	for i := range events {
		if byID[events[i].EventID] != nil {
			j.find("event %s (%s) is twice in %s", events[i].EventID, events[i].EventName, where)
		}
		byID[events[i].EventID] = &events[i]
	}
	return byID
}

func (j *judgement) bucket() {
	j.byID = j.once("the bucket", j.delivered)
	natural := map[string]int{}
	for i := range j.delivered {
		if n := identity(&j.delivered[i]); n != "" {
			natural[n]++
		}
	}
	for n, count := range natural {
		if count > 1 {
			j.find("%s was called once and is recorded %d times", n, count)
		}
	}
}

// identity names a call that the clients make at most once, so that its record
// is known without an acknowledgement.
func identity(e *event) string {
	p := &e.RequestParameters
	switch e.EventName {
	case "PutObject", "CopyObject", "DeleteObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload":
		if strings.HasPrefix(p.Key, "load/") {
			return e.EventName + " " + p.Key
		}
	case "CreateNamedQuery":
		return e.EventName + " " + p.Name
	case "CreateUser", "PutUserPolicy":
		return e.EventName + " " + p.UserName
	}
	return ""
}

// calls holds the acknowledged calls against a place that should hold each
// once, with the outcome that was answered.
func (j *judgement) calls(where string, events []event, managementOnly bool) {
	byRequest := map[string][]*event{}
	for i := range events {
		byRequest[events[i].RequestID] = append(byRequest[events[i].RequestID], &events[i])
	}
	for id, a := range j.ledger.calls {
		if managementOnly && !a.management {
			continue
		}
		found := byRequest[id]
		switch {
		case len(found) != 1:
			j.find("acknowledged %s %s is %d times in %s", a.name, id, len(found), where)
		case found[0].ErrorCode != recorded(a.code):
			j.find("%s %s was answered with %q and has %q in %s", a.name, id, a.code, found[0].ErrorCode, where)
		}
	}
	for id, found := range byRequest {
		if len(found) > 1 && found[0].EventSource != "cassandra.amazonaws.com" {
			j.find("request %s (%s) has %d records in %s", id, found[0].EventName, len(found), where)
		}
	}
}

// recorded is an answer's error code as CloudTrail records it.
func recorded(code string) string {
	if code == "AccessDeniedException" {
		return "AccessDenied"
	}
	return code
}

// numbers: the files' numbers follow each other.
func (j *judgement) numbers() {
	files := slices.Clone(j.files)
	slices.SortFunc(files, func(a, b logFile) int { return int(int64(a.first) - int64(b.first)) })
	held := 0
	for i, f := range files {
		held += f.records
		if i > 0 && f.first != files[i-1].last+1 {
			j.find("%s begins at record %d, the file before it ends at %d", f.key, f.first, files[i-1].last)
		}
		if f.last < f.first || uint64(f.records) > f.last-f.first+1 {
			j.find("%s holds %d records of the numbers %d to %d", f.key, f.records, f.first, f.last)
		}
	}
	if held != len(j.delivered) {
		j.find("the files hold %d records, %d were read", held, len(j.delivered))
	}
}

// store: what the trail delivered the event data store has, byte for byte, and
// nothing else of that time.
func (j *judgement) store() {
	byID := j.once("the event data store", j.lake)
	for id, e := range j.byID {
		switch row := byID[id]; {
		case row == nil:
			j.find("delivered event %s (%s) is not in the event data store", id, e.EventName)
		case row.raw != e.raw:
			j.find("event %s is %s in the bucket and %s in the event data store", id, e.raw, row.raw)
		}
	}
	for id, row := range byID {
		if j.byID[id] == nil && row.EventTime > j.begun && row.EventTime < j.stopped {
			j.find("event %s (%s) is in the event data store and was not delivered", id, row.EventName)
		}
	}
}

// history: every delivered management event once, the newest first.
func (j *judgement) history() {
	byID := j.once("event history", j.looked)
	for i := 1; i < len(j.looked); i++ {
		if j.looked[i].EventTime > j.looked[i-1].EventTime {
			j.find("event history gives %s (%s) after the older %s (%s)", j.looked[i].EventID, j.looked[i].EventTime, j.looked[i-1].EventID, j.looked[i-1].EventTime)
		}
	}
	for id, e := range j.byID {
		if e.ManagementEvent && byID[id] == nil {
			j.find("delivered event %s (%s) is not in event history", id, e.EventName)
		}
	}
	byName := j.once("event history by name", j.named)
	for id, e := range byID {
		if e.EventName == lookedName && byName[id] == nil {
			j.find("event %s (%s) is not in event history by name", id, e.EventName)
		}
		if j.byID[id] == nil && e.EventTime > j.begun && e.EventTime < j.stopped {
			j.find("event %s (%s) is in event history and was not delivered", id, e.EventName)
		}
	}
}

// tail: a reader that came back after each kill saw every record once.
func (j *judgement) tail() {
	ids, last := map[string]bool{}, uint64(0)
	for _, l := range j.tailed {
		if l.seq != last+1 && last != 0 {
			j.find("the live stream goes from record %d to %d", last, l.seq)
		}
		last = l.seq
		if ids[l.id] {
			j.find("event %s came twice on the live stream", l.id)
		}
		ids[l.id] = true
	}
	for id, e := range j.byID {
		if !ids[id] {
			j.find("delivered event %s (%s) did not come on the live stream", id, e.EventName)
		}
	}
}

// effects: a row and its record are one write, so there are as many of one as
// of the other, acknowledged or not.
func (j *judgement) effects() {
	inserts, refused := map[string]int{}, 0
	for i := range j.delivered {
		e := &j.delivered[i]
		switch {
		case e.EventName == "Insert" && e.ErrorCode == "" && e.RequestParameters.KeyspaceName == keyspace:
			inserts[e.RequestParameters.TableName]++
		case e.EventName == "Select" && e.ErrorCode != "" && e.RequestParameters.TableName == deniedTable:
			refused++
		}
	}
	for table, n := range j.rows {
		if inserts[table] != n {
			j.find("table %s has %d rows and %d delivered Insert records", table, n, inserts[table])
		}
	}
	if refused < j.ledger.denied || refused > j.ledger.tried {
		j.find("%d statements were sent to be denied, %d denials were acknowledged and %d delivered", j.ledger.tried, j.ledger.denied, refused)
	}
}

// notifications: each file was announced, and none that is not there.
func (j *judgement) notifications() {
	left := maps.Clone(j.announced)
	for _, f := range j.files {
		if left[f.key] == 0 {
			j.find("no notification named %s", f.key)
		}
		delete(left, f.key)
	}
	for key := range left {
		j.find("a notification named %s, which is not in the bucket", key)
	}
}

func (j *judgement) audit() {
	count := map[string]int{}
	for _, id := range j.audits {
		count[id]++
	}
	for id, acknowledged := range j.ledger.audits {
		if n := count[id]; n > 1 || acknowledged && n != 1 {
			j.find("audit event %s (acknowledged: %v) is %d times in its store", id, acknowledged, n)
		}
		delete(count, id)
	}
	for id := range count {
		j.find("audit event %s was never sent", id)
	}
}
