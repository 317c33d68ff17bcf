package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"

	"spoor/internal/aws"
)

// Settings is the file that --notifications names: what the ARNs stand for that
// trails send to. Names of files in it are relative to its directory.
type Settings struct {
	// DeadLetters is the file of the messages that were given up. Default:
	// dead-letters.jsonl in the data directory.
	DeadLetters string `json:"deadLetters"`
	// URL is this server as receivers reach it: the certificates that SNS
	// messages are checked with are below it. Default: https and the address of
	// --http.
	URL string `json:"url"`
	// MaxAge and MaxAttempts are when a message that a target does not take
	// becomes a dead letter. Default: 24 hours and 185 attempts, EventBridge's.
	MaxAge      Duration `json:"maxAge"`
	MaxAttempts int      `json:"maxAttempts"`

	Topics    []Topic    `json:"topics"`
	LogGroups []LogGroup `json:"logGroups"`
	// Rules are read by who owns them, with DecodeStrict.
	Rules json.RawMessage `json:"rules"`
}

// Topic is a subscription of an SNS topic: an endpoint that gets SNS's HTTP
// posts. A topic with several is named several times.
type Topic struct {
	ARN      string `json:"arn"`
	Endpoint string `json:"endpoint"` // http or https
	CA       string `json:"ca"`       // file of the certificates that the endpoint's is checked against; default: the system's
	// User and PasswordFile are sent by HTTP's basic authentication.
	User         string `json:"user"`
	PasswordFile string `json:"passwordFile"`
	// SignatureVersion is "1" (SHA-1) or "2" (SHA-256, the default), as the
	// topic attribute of that name.
	SignatureVersion string `json:"signatureVersion"`
	// Confirm makes the endpoint confirm its subscription before it gets
	// anything, as SNS does.
	Confirm bool `json:"confirm"`
}

// LogGroup is a log group of CloudWatch Logs: a file of JSON lines, or an
// endpoint that takes PutLogEvents.
type LogGroup struct {
	ARN         string       `json:"arn"`
	File        string       `json:"file"`
	Endpoint    string       `json:"endpoint"`
	CA          string       `json:"ca"`
	Credentials *Credentials `json:"credentials"` // what requests are signed with; unsigned without
}

// Credentials are an AWS access key. What of it is secret is in files.
type Credentials struct {
	AccessKeyID      string `json:"accessKeyId"`
	SecretKeyFile    string `json:"secretKeyFile"`
	SessionTokenFile string `json:"sessionTokenFile"`
}

// Read gives what to sign with, and nothing for nil. It reads the files each
// time: who rotates credentials only writes files.
func (c *Credentials) Read() (out sdkaws.Credentials, err error) {
	if c == nil {
		return out, nil
	}
	out.AccessKeyID = c.AccessKeyID
	if out.SecretAccessKey, err = ReadSecret(c.SecretKeyFile); err == nil && c.SessionTokenFile != "" {
		out.SessionToken, err = ReadSecret(c.SessionTokenFile)
	}
	if err != nil {
		return out, fmt.Errorf("reading the credentials: %w", err)
	}
	return out, nil
}

// Duration is a time.Duration as its text, "90m".
type Duration time.Duration

// UnmarshalJSON implements json.Unmarshaler.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return fmt.Errorf("%s is not a duration such as \"90m\"", b)
	}
	v, err := time.ParseDuration(text)
	*d = Duration(v)
	return err
}

// maxSettings bounds the file.
const maxSettings = 4 << 20

// ReadSettings reads and checks a settings file.
func ReadSettings(name string) (*Settings, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxSettings {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", name, info.Size(), maxSettings)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	s, err := ParseSettings(data, dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// ParseSettings reads a settings file's content and checks all but whether the
// files exist that it names. dir is what their names are relative to.
func ParseSettings(data []byte, dir string) (*Settings, error) {
	s := &Settings{}
	if err := DecodeStrict(data, s, ""); err != nil {
		return nil, err
	}
	var errs []error
	bad := func(path, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...)))
	}
	if s.URL != "" {
		if u, err := checkEndpoint(s.URL); err != nil {
			bad("url", "%v", err)
		} else if u.RawQuery != "" {
			bad("url", "%q must have no query", s.URL)
		}
		s.URL = strings.TrimRight(s.URL, "/")
	}
	if age := time.Duration(s.MaxAge); s.MaxAge != 0 && (age < time.Minute || age > 30*24*time.Hour) {
		bad("maxAge", "%s is outside 1m to 720h", age)
	}
	if s.MaxAttempts < 0 || s.MaxAttempts > 1_000_000 {
		bad("maxAttempts", "%d is outside 1 to 1000000, and 0 for the default", s.MaxAttempts)
	}
	s.DeadLetters = resolve(dir, s.DeadLetters)
	s.checkTopics(dir, bad)
	s.checkLogGroups(dir, bad)
	return s, errors.Join(errs...)
}

func (s *Settings) checkTopics(dir string, bad func(path, format string, args ...any)) {
	seen := map[string]bool{}
	for i := range s.Topics {
		t, path := &s.Topics[i], fmt.Sprintf("topics[%d]", i)
		t.CA, t.PasswordFile = resolve(dir, t.CA), resolve(dir, t.PasswordFile)
		if !ValidTopicARN(t.ARN) {
			bad(path+".arn", "%q is not an ARN such as arn:aws:sns:us-east-1:123456789012:trail-topic", t.ARN)
		}
		if _, err := checkEndpoint(t.Endpoint); err != nil {
			bad(path+".endpoint", "%v", err)
		}
		if v := t.SignatureVersion; v != "" && v != "1" && v != "2" {
			bad(path+".signatureVersion", "%q is neither \"1\" nor \"2\"", v)
		}
		if (t.User == "") != (t.PasswordFile == "") {
			bad(path+".user", "user and passwordFile go together")
		}
		if id := t.ARN + " " + t.Endpoint; seen[id] {
			bad(path, "the topic has this endpoint already")
		} else {
			seen[id] = true
		}
	}
}

func (s *Settings) checkLogGroups(dir string, bad func(path, format string, args ...any)) {
	seen := map[string]bool{}
	for i := range s.LogGroups {
		g, path := &s.LogGroups[i], fmt.Sprintf("logGroups[%d]", i)
		g.CA, g.File = resolve(dir, g.CA), resolve(dir, g.File)
		if !ValidLogGroupARN(g.ARN) {
			bad(path+".arn", "%q is not an ARN such as arn:aws:logs:us-east-1:123456789012:log-group:trail:*", g.ARN)
		}
		if id := LogGroupID(g.ARN); seen[id] {
			bad(path+".arn", "the log group is declared already")
		} else {
			seen[id] = true
		}
		switch {
		case (g.File == "") == (g.Endpoint == ""):
			bad(path, "give a file or an endpoint, one of them")
		case g.Endpoint != "":
			if _, err := checkEndpoint(g.Endpoint); err != nil {
				bad(path+".endpoint", "%v", err)
			}
		case g.CA != "" || g.Credentials != nil:
			bad(path, "ca and credentials are for an endpoint")
		}
		if c := g.Credentials; c != nil {
			c.SecretKeyFile, c.SessionTokenFile = resolve(dir, c.SecretKeyFile), resolve(dir, c.SessionTokenFile)
			if c.AccessKeyID == "" || c.SecretKeyFile == "" {
				bad(path+".credentials", "accessKeyId and secretKeyFile are needed")
			}
		}
	}
}

func resolve(dir, name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// checkEndpoint parses an http or https URL. Credentials in it would end in
// logs, so there are settings for them.
func checkEndpoint(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("it is not a URL") // the parser's error quotes it
	}
	switch {
	case (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "":
		return nil, errors.New("it is not an http or https URL with a host")
	case u.User != nil:
		return nil, errors.New("a URL must not hold a password; there are settings that name a file for it")
	case u.Fragment != "":
		return nil, errors.New("a fragment (#…) is not sent to anybody")
	}
	return u, nil
}

var (
	topicName    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,256}$`)
	logGroupName = regexp.MustCompile(`^[.\-_/#A-Za-z0-9]{1,512}$`)
	accountID    = regexp.MustCompile(`^[0-9]{12}$`)
)

// ValidTopicName reports whether name can be that of an SNS topic (SNS API
// reference, CreateTopic). CloudTrail takes no FIFO topics.
func ValidTopicName(name string) bool { return topicName.MatchString(name) }

// ValidTopicARN reports whether arn can be that of an SNS topic.
func ValidTopicARN(arn string) bool {
	a, err := aws.ParseARN(arn)
	return err == nil && a.Service == "sns" && a.Region != "" && accountID.MatchString(a.Account) && ValidTopicName(a.Resource) && a.String() == arn
}

// ValidLogGroupARN reports whether arn can be that of a log group, which
// CloudWatch Logs writes with and without ":*" at its end.
func ValidLogGroupARN(arn string) bool {
	a, err := aws.ParseARN(arn)
	if err != nil || a.Service != "logs" || a.Region == "" || !accountID.MatchString(a.Account) {
		return false
	}
	kind, name, _ := strings.Cut(strings.TrimSuffix(a.Resource, ":*"), ":")
	return kind == "log-group" && logGroupName.MatchString(name)
}

// LogGroupID is what the ARNs of one log group have in common.
func LogGroupID(arn string) string { return strings.TrimSuffix(arn, ":*") }

// LogGroupName is the name in a valid log group's ARN.
func LogGroupName(arn string) string {
	_, name, _ := strings.Cut(LogGroupID(arn), ":log-group:")
	return name
}
