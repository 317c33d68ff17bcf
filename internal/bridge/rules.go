package bridge

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"spoor/internal/eventpattern"
	"spoor/internal/notify"
)

// Rule is an element of "rules" in the file that --notifications names. Names of
// files in it are relative to its directory.
type Rule struct {
	Name string `json:"name"`
	// Account and Region limit the rule to one; "" is all.
	Account string `json:"account"`
	Region  string `json:"region"`
	// State is ENABLED, the default, DISABLED, or
	// ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS. Only the last one gets
	// read-only management events whose names begin with Get, List or Describe.
	State        string          `json:"state"`
	EventPattern json.RawMessage `json:"eventPattern"`
	Targets      []Target        `json:"targets"`

	pattern *eventpattern.Pattern
}

// Target is one place that a rule's events go to: one of its four kinds.
type Target struct {
	// ID names the target within its rule. A target that keeps its id keeps its
	// place in the journal, whatever else of it changes. Default: made of the
	// kind and the address.
	ID string `json:"id"`
	// Input is sent in the place of each event, or InputPath the part of the event
	// that it names, such as "$.detail". They exclude each other.
	Input     json.RawMessage `json:"input"`
	InputPath string          `json:"inputPath"`

	Webhook *Webhook `json:"webhook"`
	SQS     *SQS     `json:"sqs"`
	Kafka   *Kafka   `json:"kafka"`
	NATS    *NATS    `json:"nats"`
}

// Webhook is an HTTP endpoint that gets each event as a POST of its own, with the
// headers of the Standard Webhooks specification.
type Webhook struct {
	URL string `json:"url"`
	// HMACKeyFile holds the key that messages are signed with; see signer.
	HMACKeyFile string `json:"hmacKeyFile"`
	CA          string `json:"ca"` // file of the certificates that the endpoint's is checked against; default: the system's
	// User and PasswordFile are sent by HTTP's basic authentication.
	User         string `json:"user"`
	PasswordFile string `json:"passwordFile"`
	// Concurrency is how many posts are under way at a time, 1 by default and 64
	// at most. With more than one, events may come out of order.
	Concurrency int `json:"concurrency"`
}

// SQS is a queue of Amazon SQS or of what speaks its JSON protocol.
type SQS struct {
	URL    string `json:"url"` // the queue's
	Region string `json:"region"`
	// Endpoint is where requests go, if not to the queue URL's host.
	Endpoint    string              `json:"endpoint"`
	CA          string              `json:"ca"`
	Credentials *notify.Credentials `json:"credentials"` // what requests are signed with; unsigned without
	// MessageGroupID is for a queue whose name ends in ".fifo". Default: the
	// event's account.
	MessageGroupID string `json:"messageGroupId"`
	HMACKeyFile    string `json:"hmacKeyFile"`
}

// Kafka is a topic.
type Kafka struct {
	Brokers []string `json:"brokers"` // HOST:PORT
	Topic   string   `json:"topic"`
	TLS     bool     `json:"tls"`
	CA      string   `json:"ca"`
	// SASL is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
	SASL         string `json:"sasl"`
	User         string `json:"user"`
	PasswordFile string `json:"passwordFile"`
	HMACKeyFile  string `json:"hmacKeyFile"`
}

// NATS is a subject.
type NATS struct {
	URL     string `json:"url"` // nats:// or tls://, several with commas between
	Subject string `json:"subject"`
	// JetStream waits until a stream has stored the event. Without it an event has
	// arrived when the server has it, whether anybody listens or not.
	JetStream       bool   `json:"jetstream"`
	CredentialsFile string `json:"credentialsFile"`
	User            string `json:"user"`
	PasswordFile    string `json:"passwordFile"`
	CA              string `json:"ca"`
	HMACKeyFile     string `json:"hmacKeyFile"`
}

const (
	// maxTargets is EventBridge's "Targets per rule" quota.
	maxTargets     = 5
	maxRules       = 300
	maxConcurrency = 64
)

var (
	// identifier is a rule's Name and a target's Id (EventBridge API reference).
	identifier = regexp.MustCompile(`^[.\-_A-Za-z0-9]{1,64}$`)
	account    = regexp.MustCompile(`^[0-9]{12}$`)
	kafkaTopic = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)
)

// Parse reads and checks rules. dir is what names of files are relative to.
func Parse(data json.RawMessage, dir string) ([]Rule, error) {
	if len(bytes.TrimSpace(data)) == 0 || string(bytes.TrimSpace(data)) == "null" {
		return nil, nil
	}
	var rules []Rule
	if err := notify.DecodeStrict(data, &rules, "rules"); err != nil {
		return nil, err
	}
	if len(rules) > maxRules {
		return nil, fmt.Errorf("rules: there are %d, more than %d", len(rules), maxRules)
	}
	var errs []error
	names := map[string]bool{}
	for i := range rules {
		c := checker{path: fmt.Sprintf("rules[%d]", i), dir: dir}
		c.rule(&rules[i])
		if names[rules[i].Name] {
			c.bad(".name", "there is a rule %q already", rules[i].Name)
		}
		names[rules[i].Name] = true
		errs = append(errs, c.errs...)
	}
	return rules, errors.Join(errs...)
}

// checker collects what is wrong with one rule.
type checker struct {
	path, dir string
	errs      []error
}

func (c *checker) bad(member, format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("%s%s: %s", c.path, member, fmt.Sprintf(format, args...)))
}

func (c *checker) rule(r *Rule) {
	if !identifier.MatchString(r.Name) {
		c.bad(".name", "%q is not 1 to 64 letters, digits, dots, hyphens and underscores", r.Name)
	}
	if r.Account != "" && !account.MatchString(r.Account) {
		c.bad(".account", "%q is not twelve digits", r.Account)
	}
	switch r.State {
	case "":
		r.State = Enabled
	case Enabled, EnabledRead, Disabled:
	default:
		c.bad(".state", "%q is none of %s, %s and %s", r.State, Enabled, Disabled, EnabledRead)
	}
	if len(r.EventPattern) == 0 {
		c.bad(".eventPattern", "it is needed")
	} else {
		var compact bytes.Buffer // the limit on its size is for what an API call would hold
		_ = json.Compact(&compact, r.EventPattern)
		var err error
		if r.pattern, err = eventpattern.Compile(compact.Bytes()); err != nil {
			c.bad(".eventPattern", "%v", err)
		}
	}
	if len(r.Targets) == 0 || len(r.Targets) > maxTargets {
		c.bad(".targets", "a rule has 1 to %d targets", maxTargets)
	}
	ids := map[string]bool{}
	path := c.path
	for i := range r.Targets {
		c.path = fmt.Sprintf("%s.targets[%d]", path, i)
		c.target(&r.Targets[i])
		if ids[r.Targets[i].ID] {
			c.bad(".id", "the rule has a target %q already", r.Targets[i].ID)
		}
		ids[r.Targets[i].ID] = true
	}
	c.path = path
}

func (c *checker) target(t *Target) {
	var kind, address string
	kinds := 0
	if t.Webhook != nil {
		kinds++
		kind, address = "webhook", t.Webhook.URL
		c.webhook(t.Webhook)
	}
	if t.SQS != nil {
		kinds++
		kind, address = "sqs", t.SQS.URL
		c.sqs(t.SQS)
	}
	if t.Kafka != nil {
		kinds++
		kind, address = "kafka", strings.Join(t.Kafka.Brokers, ",")+"/"+t.Kafka.Topic
		c.kafka(t.Kafka)
	}
	if t.NATS != nil {
		kinds++
		kind, address = "nats", t.NATS.URL+"/"+t.NATS.Subject
		c.nats(t.NATS)
	}
	if kinds != 1 {
		c.bad("", "give one of webhook, sqs, kafka and nats")
	}
	if t.ID == "" {
		sum := sha256.Sum256([]byte(address))
		t.ID = kind + "-" + hex.EncodeToString(sum[:6])
	} else if !identifier.MatchString(t.ID) {
		c.bad(".id", "%q is not 1 to 64 letters, digits, dots, hyphens and underscores", t.ID)
	}
	if len(t.Input) > 0 && t.InputPath != "" {
		c.bad("", "input and inputPath exclude each other")
	}
	if t.InputPath != "" {
		if _, err := parsePath(t.InputPath); err != nil {
			c.bad(".inputPath", "%v", err)
		}
	}
}

// files makes the names of files absolute.
func (c *checker) files(names ...*string) {
	for _, n := range names {
		if *n != "" && !filepath.IsAbs(*n) {
			*n = filepath.Join(c.dir, *n)
		}
	}
}

func (c *checker) webhook(w *Webhook) {
	c.files(&w.HMACKeyFile, &w.CA, &w.PasswordFile)
	c.http(".webhook.url", w.URL)
	c.password(".webhook", w.User, w.PasswordFile)
	if w.Concurrency < 0 || w.Concurrency > maxConcurrency {
		c.bad(".webhook.concurrency", "%d is outside 1 to %d", w.Concurrency, maxConcurrency)
	}
	w.Concurrency = max(w.Concurrency, 1)
}

func (c *checker) sqs(q *SQS) {
	c.files(&q.HMACKeyFile, &q.CA)
	c.http(".sqs.url", q.URL)
	if q.Endpoint == "" {
		q.Endpoint = q.URL
	} else {
		c.http(".sqs.endpoint", q.Endpoint)
	}
	if q.MessageGroupID != "" && !strings.HasSuffix(q.URL, ".fifo") {
		c.bad(".sqs.messageGroupId", "it is for queues whose name ends in .fifo")
	}
	if k := q.Credentials; k != nil {
		c.files(&k.SecretKeyFile, &k.SessionTokenFile)
		if k.AccessKeyID == "" || k.SecretKeyFile == "" {
			c.bad(".sqs.credentials", "accessKeyId and secretKeyFile are needed")
		}
		if q.Region == "" {
			c.bad(".sqs.region", "it is needed to sign requests")
		}
	}
}

func (c *checker) kafka(k *Kafka) {
	c.files(&k.HMACKeyFile, &k.CA, &k.PasswordFile)
	if len(k.Brokers) == 0 {
		c.bad(".kafka.brokers", "at least one is needed")
	}
	for _, b := range k.Brokers {
		if i := strings.LastIndexByte(b, ':'); i < 1 || i == len(b)-1 || strings.Contains(b, "/") {
			c.bad(".kafka.brokers", "%q is not HOST:PORT", b)
		}
	}
	if !kafkaTopic.MatchString(k.Topic) {
		c.bad(".kafka.topic", "%q is not a topic's name", k.Topic)
	}
	switch k.SASL {
	case "":
		if k.User != "" {
			c.bad(".kafka.sasl", "user and password need one of PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512")
		}
	case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
		if k.User == "" {
			c.bad(".kafka.user", "it is needed for %s", k.SASL)
		}
	default:
		c.bad(".kafka.sasl", "%q is none of PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512", k.SASL)
	}
	c.password(".kafka", k.User, k.PasswordFile)
	if k.CA != "" && !k.TLS {
		c.bad(".kafka.ca", "it is for tls")
	}
}

func (c *checker) nats(n *NATS) {
	c.files(&n.HMACKeyFile, &n.CA, &n.PasswordFile, &n.CredentialsFile)
	for s := range strings.SplitSeq(n.URL, ",") {
		u, err := url.Parse(s)
		switch {
		case err != nil || (u.Scheme != "nats" && u.Scheme != "tls") || u.Hostname() == "":
			c.bad(".nats.url", "it is not a nats or tls URL with a host")
		case u.User != nil:
			c.bad(".nats.url", "a URL must not hold a password; there are settings that name a file for it")
		}
	}
	if n.Subject == "" || strings.ContainsAny(n.Subject, " \t\r\n*>") || strings.HasPrefix(n.Subject, ".") ||
		strings.HasSuffix(n.Subject, ".") || strings.Contains(n.Subject, "..") {
		c.bad(".nats.subject", "%q is not a subject to publish to", n.Subject)
	}
	c.password(".nats", n.User, n.PasswordFile)
	if n.CredentialsFile != "" && n.User != "" {
		c.bad(".nats", "credentialsFile and user exclude each other")
	}
}

func (c *checker) password(member, user, file string) {
	if (user == "") != (file == "") {
		c.bad(member+".user", "user and passwordFile go together")
	}
}

// http checks a URL; what a parser says of it is not shown, since it may quote
// what is secret.
func (c *checker) http(member, text string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "":
		c.bad(member, "it is not an http or https URL with a host")
	case u.User != nil:
		c.bad(member, "a URL must not hold a password; there are settings that name a file for it")
	case u.Fragment != "":
		c.bad(member, "a fragment (#…) is not sent to anybody")
	}
}

// step is one step of a path: a member's name, or an element's index.
type step struct {
	member string
	index  int // of an array; -1 for a member
}

// parsePath reads a path such as $.detail.resources[0].ARN into its steps.
// EventBridge's paths can do more; what is not taken is refused.
func parsePath(text string) ([]step, error) {
	bad := fmt.Errorf("%q is not a path such as $.detail.resources[0].ARN", text)
	rest, ok := strings.CutPrefix(text, "$")
	if !ok {
		return nil, bad
	}
	var steps []step
	for rest != "" {
		var s step
		switch rest[0] {
		case '.':
			end := strings.IndexAny(rest[1:], ".[") + 1
			if end == 0 {
				end = len(rest)
			}
			s, rest = step{rest[1:end], -1}, rest[end:]
			if s.member == "" || strings.ContainsAny(s.member, "]*'\"") {
				return nil, bad
			}
		case '[':
			digits, after, ok := strings.Cut(rest[1:], "]")
			n, err := strconv.ParseUint(digits, 10, 31)
			if !ok || err != nil {
				return nil, bad
			}
			s, rest = step{index: int(n)}, after
		default:
			return nil, bad
		}
		steps = append(steps, s)
	}
	return steps, nil
}

// follow is the part of a JSON event that steps lead to, or {} where there is
// none, which is what EventBridge sends then.
func follow(event []byte, steps []step) []byte {
	none := []byte("{}")
	for _, s := range steps {
		if s.index >= 0 {
			var elements []json.RawMessage
			if json.Unmarshal(event, &elements) != nil || s.index >= len(elements) {
				return none
			}
			event = elements[s.index]
			continue
		}
		var members map[string]json.RawMessage
		if json.Unmarshal(event, &members) != nil || members[s.member] == nil {
			return none
		}
		event = members[s.member]
	}
	return event
}

// decodeKey reads a signing key: Standard Webhooks' form, whsec_ and base64, or
// the bytes as they are.
func decodeKey(text string) ([]byte, error) {
	key := []byte(text)
	if coded, ok := strings.CutPrefix(text, "whsec_"); ok {
		var err error
		if key, err = base64.StdEncoding.DecodeString(coded); err != nil {
			return nil, errors.New("what follows whsec_ is not base64")
		}
	}
	if len(key) < 16 {
		return nil, errors.New("a key has at least 16 bytes; the Standard Webhooks specification asks for 24 to 64")
	}
	return key, nil
}
