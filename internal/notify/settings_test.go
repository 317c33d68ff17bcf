package notify

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

const wholeSettings = `{
  "deadLetters": "dead.jsonl", "url": "https://spoor.example:4566/", "maxAge": "90m", "maxAttempts": 7,
  "topics": [
    {"arn": "arn:aws:sns:us-east-1:123456789012:trail-topic", "endpoint": "https://host/path?q=1", "ca": "ca.pem", "signatureVersion": "1", "confirm": true},
    {"arn": "arn:aws:sns:us-east-1:123456789012:trail-topic", "endpoint": "http://other/", "user": "u", "passwordFile": "/etc/p"}
  ],
  "logGroups": [
    {"arn": "arn:aws:logs:us-east-1:123456789012:log-group:ct:*", "file": "ct.jsonl"},
    {"arn": "arn:aws:logs:us-east-1:123456789012:log-group:/aws/ct", "endpoint": "http://localhost:4566", "credentials": {"accessKeyId": "A", "secretKeyFile": "s"}}
  ],
  "rules": [{"anything": {"goes": 1}}]
}`

func TestSettings(t *testing.T) {
	t.Parallel()
	s, err := ParseSettings([]byte(wholeSettings), "/etc/spoor")
	if err != nil {
		t.Fatal(err)
	}
	if s.DeadLetters != "/etc/spoor/dead.jsonl" || s.URL != "https://spoor.example:4566" || time.Duration(s.MaxAge) != 90*time.Minute || s.MaxAttempts != 7 ||
		s.Topics[0].CA != "/etc/spoor/ca.pem" || s.Topics[1].PasswordFile != "/etc/p" || !s.Topics[0].Confirm ||
		s.LogGroups[0].File != "/etc/spoor/ct.jsonl" || s.LogGroups[1].Credentials.SecretKeyFile != "/etc/spoor/s" ||
		string(s.Rules) != `[{"anything": {"goes": 1}}]` {
		t.Errorf("read as %+v", s)
	}
}

// TestSettingsRefused: each mistake is named with its place.
func TestSettingsRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ from, to, want string }{
		{`"url":`, `"link":`, "line 2: link: there is no such setting; there are deadLetters, url"},
		{`"confirm": true`, `"confirmed": true`, "line 4: topics[0].confirmed: there is no such setting"},
		{`"confirm": true`, `"Confirm": true`, "line 4: topics[0].Confirm: there is no such setting"},
		{`"secretKeyFile"`, `"secretKey"`, "line 9: logGroups[1].credentials.secretKey: there is no such setting"},
		{`"file": "ct.jsonl"`, `"file": "ct.jsonl", "file": "b"`, "line 8: logGroups[0].file: it is given twice"},
		{`"confirm": true`, `"confirm": "yes"`, "line 4: topics.confirm: a JSON string does not stand for true or false"},
		{`"maxAge": "90m"`, `"maxAge": 90`, `90 is not a duration such as "90m"`},
		{`"maxAge": "90m"`, `"maxAge": "1s"`, "maxAge: 1s is outside 1m to 720h"},
		{`"maxAttempts": 7`, `"maxAttempts": -1`, "maxAttempts: -1 is outside"},
		{`:trail-topic", "endpoint": "http://other/"`, `:no.topic", "endpoint": "http://other/"`, `topics[1].arn: "arn:aws:sns:us-east-1:123456789012:no.topic" is not an ARN`},
		{`http://other/`, `https://host/path?q=1`, "topics[1]: the topic has this endpoint already"},
		{`http://other/`, `http://me:secret@other/`, "topics[1].endpoint: a URL must not hold a password"},
		{`http://other/`, `ftp://other/`, "topics[1].endpoint: it is not an http or https URL"},
		{`"user": "u", `, ``, "topics[1].user: user and passwordFile go together"},
		{`"signatureVersion": "1"`, `"signatureVersion": "3"`, "topics[0].signatureVersion"},
		{`log-group:/aws/ct"`, `log-group:ct"`, "logGroups[1].arn: the log group is declared already"},
		{`"file": "ct.jsonl"`, `"ca": "x"`, "logGroups[0]: give a file or an endpoint, one of them"},
		{`"secretKeyFile": "s"`, `"sessionTokenFile": "s"`, "logGroups[1].credentials: accessKeyId and secretKeyFile are needed"},
		{`"rules"`, `]"rules"`, "line 11: "},
		{"\n}", "", "line 11: the file ends too early"},
		{"\n}", "\n} {}", "line 12: something follows the value"},
	} {
		text := strings.Replace(wholeSettings, tc.from, tc.to, 1)
		if text == wholeSettings {
			t.Fatalf("%q is not in the settings", tc.from)
		}
		_, err := ParseSettings([]byte(text), "/")
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("with %q: error %v, want one with %q", tc.to, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret@") {
			t.Errorf("the error shows a password: %v", err)
		}
	}
}

// FuzzParseSettings: whatever is taken is taken again as it was, and nothing
// breaks the reader.
func FuzzParseSettings(f *testing.F) {
	f.Add([]byte(wholeSettings))
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"topics":[{"arn":null}],"rules":[1,{"a":[]}]}`))
	f.Add([]byte(`{"topics":{"arn":1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseSettings(data, "/dir")
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without a text")
			}
			return
		}
		for _, topic := range s.Topics {
			if !ValidTopicARN(topic.ARN) || topic.Endpoint == "" {
				t.Errorf("taken: %+v", topic)
			}
		}
		for _, g := range s.LogGroups {
			if !ValidLogGroupARN(g.ARN) || LogGroupName(g.ARN) == "" || (g.File == "") == (g.Endpoint == "") {
				t.Errorf("taken: %+v", g)
			}
		}
	})
}

// TestDocumented: the guide names every setting.
func TestDocumented(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../../docs/NOTIFICATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[Settings](), reflect.TypeFor[Topic](), reflect.TypeFor[LogGroup](), reflect.TypeFor[Credentials]()} {
		for _, name := range memberNames(typ) {
			if !strings.Contains(string(guide), "`"+name+"`") {
				t.Errorf("the guide does not name %s of %s", name, typ)
			}
		}
	}
}

// TestNesting: what is nested without end is refused before it costs memory.
func TestNesting(t *testing.T) {
	t.Parallel()
	const levels = 100_000
	text := `{"rules":[{"eventPattern":` + strings.Repeat(`{"a":`, levels) + `["x"]` + strings.Repeat("}", levels) + `}]}`
	var s Settings
	if err := DecodeStrict([]byte(text), &s, ""); err == nil || !strings.Contains(err.Error(), "nested too deeply") {
		t.Error(err)
	}
}
