package iam

import (
	"encoding/base64"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
)

// TestNoSecretInRecords makes every call that takes or gives a secret, also
// such that fail, and looks for the secret in all records.
func TestNoSecretInRecords(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	secrets := map[string]string{"root's key": w.boot.RootSecret, "admin's key": w.boot.AdminSecret, "admin's service password": w.boot.CQLPassword}
	alice := w.user("alice", allowAll)
	nobody := w.user("nobody", "")
	key, err := c.CreateAccessKey(ctx, &sdk.CreateAccessKeyInput{UserName: new("alice")})
	w.must(err)
	secrets["a key"] = *key.AccessKey.SecretAccessKey
	own, err := w.root.CreateAccessKey(ctx, &sdk.CreateAccessKeyInput{})
	w.must(err)
	secrets["another key of root"] = *own.AccessKey.SecretAccessKey
	cred, err := c.CreateServiceSpecificCredential(ctx, &sdk.CreateServiceSpecificCredentialInput{UserName: new("alice"), ServiceName: new(CQLService)})
	w.must(err)
	secrets["a service password"] = *cred.ServiceSpecificCredential.ServicePassword
	reset, err := c.ResetServiceSpecificCredential(ctx, &sdk.ResetServiceSpecificCredentialInput{UserName: new("alice"),
		ServiceSpecificCredentialId: cred.ServiceSpecificCredential.ServiceSpecificCredentialId})
	w.must(err)
	secrets["a service password after its reset"] = *reset.ServiceSpecificCredential.ServicePassword
	for name, password := range map[string]string{"created": "Created-1!", "updated": "Updated-2!", "changed": "Changed-3!", "wrong": "Wrong-4!", "new": "Newer-5!",
		"denied": "Denied-6!", "denied old": "Denied-7!", "denied new": "Denied-8!", "weak": "weakest", "unknown": "Unknown-9!", "repeated": "Repeated-10!"} {
		secrets[name+" password"] = password
	}
	w.try([]attempt{
		{"weak", func() error {
			return drop(c.CreateLoginProfile(ctx, &sdk.CreateLoginProfileInput{UserName: new("alice"), Password: new("weakest")}))
		}, "PasswordPolicyViolation"},
		{"create", func() error {
			return drop(c.CreateLoginProfile(ctx, &sdk.CreateLoginProfileInput{UserName: new("alice"), Password: new("Created-1!")}))
		}, ""},
		{"repeated", func() error {
			return drop(c.CreateLoginProfile(ctx, &sdk.CreateLoginProfileInput{UserName: new("alice"), Password: new("Repeated-10!")}))
		}, "EntityAlreadyExists"},
		{"unknown", func() error {
			return drop(c.UpdateLoginProfile(ctx, &sdk.UpdateLoginProfileInput{UserName: new("none"), Password: new("Unknown-9!")}))
		}, "NoSuchEntity"},
		{"update", func() error {
			return drop(c.UpdateLoginProfile(ctx, &sdk.UpdateLoginProfileInput{UserName: new("alice"), Password: new("Updated-2!")}))
		}, ""},
		{"change", func() error {
			return drop(alice.ChangePassword(ctx, &sdk.ChangePasswordInput{OldPassword: new("Updated-2!"), NewPassword: new("Changed-3!")}))
		}, ""},
		{"wrong", func() error {
			return drop(alice.ChangePassword(ctx, &sdk.ChangePasswordInput{OldPassword: new("Wrong-4!"), NewPassword: new("Newer-5!")}))
		}, "AccessDenied"},
		{"denied", func() error {
			return drop(nobody.CreateLoginProfile(ctx, &sdk.CreateLoginProfileInput{UserName: new("alice"), Password: new("Denied-6!")}))
		}, "AccessDenied"},
		{"denied change", func() error {
			return drop(nobody.ChangePassword(ctx, &sdk.ChangePasswordInput{OldPassword: new("Denied-7!"), NewPassword: new("Denied-8!")}))
		}, "AccessDenied"},
		{"invalid", func() error {
			return drop(c.CreateLoginProfile(ctx, &sdk.CreateLoginProfileInput{UserName: new("not a name"), Password: new("Unknown-9!")}))
		}, "ValidationError"},
		{"invalid password", func() error {
			return drop(c.CreateLoginProfile(ctx, &sdk.CreateLoginProfileInput{UserName: new("alice"), Password: new("Unknown-9!\x01")}))
		}, "ValidationError"},
	})
	records := w.records()
	if want := 20; len(records) < want {
		t.Fatalf("there are %d records, want at least %d", len(records), want)
	}
	seen := map[string]int{}
	for _, r := range records {
		for _, name := range []string{"CreateAccessKey", "CreateServiceSpecificCredential", "ResetServiceSpecificCredential", "CreateLoginProfile", "UpdateLoginProfile", "ChangePassword"} {
			if strings.Contains(r, `"eventName":"`+name+`"`) {
				seen[name]++
			}
		}
		for what, secret := range secrets {
			if strings.Contains(r, secret) || strings.Contains(r, base64.StdEncoding.EncodeToString([]byte(secret))) {
				t.Errorf("%s is in the record %s", what, r)
			}
		}
	}
	for name, want := range map[string]int{"CreateAccessKey": 4, "CreateServiceSpecificCredential": 1, "ResetServiceSpecificCredential": 1, "CreateLoginProfile": 6, "UpdateLoginProfile": 2, "ChangePassword": 3} {
		if seen[name] != want {
			t.Errorf("%d records of %s, want %d", seen[name], name, want)
		}
	}
}

// TestRecordOfCredentials: what a record does show of a key and a password.
func TestRecordOfCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("alice", "")
	elements := func() map[string]any {
		e, ok := w.lastRecord()["responseElements"].(map[string]any)
		if !ok {
			t.Fatalf("no responseElements in %v", w.lastRecord())
		}
		return e
	}
	key, ok := elements()["accessKey"].(map[string]any)
	if _, secret := key["secretAccessKey"]; !ok || secret || key["userName"] != "alice" || key["status"] != "Active" || key["accessKeyId"] == nil {
		t.Errorf("the record shows %v", key)
	}
	w.must(drop(w.admin.CreateLoginProfile(w.ctx, &sdk.CreateLoginProfileInput{UserName: new("alice"), Password: new("Passw0rd!"), PasswordResetRequired: true})))
	in, ok := w.lastRecord()["requestParameters"].(map[string]any)
	if _, password := in["password"]; !ok || password || in["userName"] != "alice" || in["passwordResetRequired"] != true {
		t.Errorf("the record shows %v", in)
	}
	if p, ok := elements()["loginProfile"].(map[string]any); !ok || p["userName"] != "alice" {
		t.Errorf("the record shows %v", elements())
	}
}
