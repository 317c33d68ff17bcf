package iam

import (
	"fmt"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/google/go-cmp/cmp"
)

// TestLoginProfileLife is a console password from creation to deletion.
func TestLoginProfileLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	w.user("alice", "")
	create := func(password string) func() error {
		return func() error {
			return drop(c.CreateLoginProfile(ctx, &sdk.CreateLoginProfileInput{UserName: new("alice"), Password: &password, PasswordResetRequired: true}))
		}
	}
	get := func() error {
		return drop(c.GetLoginProfile(ctx, &sdk.GetLoginProfileInput{UserName: new("alice")}))
	}
	w.try([]attempt{
		{"none yet", get, "NoSuchEntity: Login Profile for User alice cannot be found."},
		{"update none", func() error {
			return drop(c.UpdateLoginProfile(ctx, &sdk.UpdateLoginProfileInput{UserName: new("alice"), Password: new("Passw0rd!")}))
		}, "NoSuchEntity: Login Profile for User alice cannot be found."},
		{"delete none", func() error {
			return drop(c.DeleteLoginProfile(ctx, &sdk.DeleteLoginProfileInput{UserName: new("alice")}))
		},
			"NoSuchEntity: Login Profile for User alice cannot be found."},
		{"no password", func() error {
			return drop(c.CreateLoginProfile(ctx, &sdk.CreateLoginProfileInput{UserName: new("alice")}))
		}, "ValidationError: 1 validation error detected: Value null at 'password'"},
		{"unknown user", func() error {
			return drop(c.CreateLoginProfile(ctx, &sdk.CreateLoginProfileInput{UserName: new("none"), Password: new("Passw0rd!")}))
		}, "NoSuchEntity: The user with name none cannot be found."},
		{"short", create("Pass0!"), "PasswordPolicyViolation: Password should have a minimum length of 8"},
		{"two kinds", create("password1234"), "PasswordPolicyViolation: Password should have at least three of"},
		{"create", create("Passw0rd!"), ""},
		{"create again", create("Passw0rd!"), "EntityAlreadyExists: Login Profile for user alice already exists."},
		{"user with password", func() error {
			keys, err := c.ListAccessKeys(ctx, &sdk.ListAccessKeysInput{UserName: new("alice")})
			w.must(err)
			w.must(drop(c.DeleteAccessKey(ctx, &sdk.DeleteAccessKeyInput{UserName: new("alice"), AccessKeyId: keys.AccessKeyMetadata[0].AccessKeyId})))
			return drop(c.DeleteUser(ctx, &sdk.DeleteUserInput{UserName: new("alice")}))
		}, "DeleteConflict: Cannot delete entity, must delete login profile first."},
	})
	w.restart()
	got, err := c.GetLoginProfile(ctx, &sdk.GetLoginProfileInput{UserName: new("alice")})
	w.must(err)
	if p := got.LoginProfile; *p.UserName != "alice" || !p.PasswordResetRequired || p.CreateDate == nil {
		t.Errorf("got %+v", p)
	}
	w.must(drop(c.UpdateLoginProfile(ctx, &sdk.UpdateLoginProfileInput{UserName: new("alice"), PasswordResetRequired: new(false)})))
	if got, err = c.GetLoginProfile(ctx, &sdk.GetLoginProfileInput{UserName: new("alice")}); err != nil || got.LoginProfile.PasswordResetRequired {
		t.Errorf("got %+v, %v", got, err)
	}
	w.try([]attempt{
		{"delete", func() error {
			return drop(c.DeleteLoginProfile(ctx, &sdk.DeleteLoginProfileInput{UserName: new("alice")}))
		}, ""},
		{"none left", get, "NoSuchEntity: "},
		{"the user goes", func() error { return drop(c.DeleteUser(ctx, &sdk.DeleteUserInput{UserName: new("alice")})) }, ""},
	})
}

// TestPasswordPolicy holds passwords against each rule of a policy.
func TestPasswordPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	tests := []struct {
		name, password, want string
		policy               *sdk.UpdateAccountPasswordPolicyInput
	}{
		{"default, good", "Abcdefg1", "", nil},
		{"default, symbols count", "abcdefg1!", "", nil},
		{"default, short", "Abcdef1", "Password should have a minimum length of 8", nil},
		{"default, two kinds", "abcdefg1", "Password should have at least three of", nil},
		{"default, other characters are no kind", "abcdefg1~", "Password should have at least three of", nil},
		{"all defaults, six are enough", "abcdef", "", &sdk.UpdateAccountPasswordPolicyInput{}},
		{"all defaults, five are not", "abcde", "Password should have a minimum length of 6", &sdk.UpdateAccountPasswordPolicyInput{}},
		{"length", "abcdefghijk", "Password should have a minimum length of 12", &sdk.UpdateAccountPasswordPolicyInput{MinimumPasswordLength: new(int32(12))}},
		{"length counts characters", strings.Repeat("ÿ", 12), "", &sdk.UpdateAccountPasswordPolicyInput{MinimumPasswordLength: new(int32(12))}},
		{"uppercase", "abcdef", "Password should have at least one uppercase letter", &sdk.UpdateAccountPasswordPolicyInput{RequireUppercaseCharacters: true}},
		{"lowercase", "ABCDEF", "Password should have at least one lowercase letter", &sdk.UpdateAccountPasswordPolicyInput{RequireLowercaseCharacters: true}},
		{"number", "abcdef", "Password should have at least one number", &sdk.UpdateAccountPasswordPolicyInput{RequireNumbers: true}},
		{"symbol", "abcdef~", "Password should have at least one symbol", &sdk.UpdateAccountPasswordPolicyInput{RequireSymbols: true}},
		{"all", "Abcde1!", "", &sdk.UpdateAccountPasswordPolicyInput{RequireUppercaseCharacters: true, RequireLowercaseCharacters: true, RequireNumbers: true, RequireSymbols: true}},
	}
	for i, tt := range tests {
		if tt.policy == nil {
			if _, err := c.DeleteAccountPasswordPolicy(ctx, &sdk.DeleteAccountPasswordPolicyInput{}); i == 0 && said(err) != "NoSuchEntity: The account policy with name PasswordPolicy cannot be found." {
				t.Errorf("deleting no policy: %v", err)
			}
		} else {
			w.must(drop(c.UpdateAccountPasswordPolicy(ctx, tt.policy)))
		}
		name := fmt.Sprintf("u%d", i)
		w.must(drop(c.CreateUser(ctx, &sdk.CreateUserInput{UserName: &name})))
		want := ""
		if tt.want != "" {
			want = "PasswordPolicyViolation: " + tt.want
		}
		w.try([]attempt{{tt.name, func() error {
			return drop(c.CreateLoginProfile(ctx, &sdk.CreateLoginProfileInput{UserName: &name, Password: &tt.password}))
		}, want}})
	}
}

// TestPasswordPolicyFields: an update replaces the whole policy, and what was
// not asked for is not shown.
func TestPasswordPolicyFields(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	get := func() (string, error) {
		out, err := c.GetAccountPasswordPolicy(ctx, &sdk.GetAccountPasswordPolicyInput{})
		if err != nil {
			return "", err
		}
		p := out.PasswordPolicy
		return fmt.Sprint(*p.MinimumPasswordLength, p.RequireSymbols, p.RequireNumbers, p.RequireUppercaseCharacters, p.RequireLowercaseCharacters,
			p.AllowUsersToChangePassword, p.ExpirePasswords, p.MaxPasswordAge != nil, p.PasswordReusePrevention != nil, p.HardExpiry != nil), nil
	}
	if _, err := get(); said(err) != "NoSuchEntity: The Password Policy with domain name 111122223333 cannot be found." {
		t.Errorf("no policy: %v", err)
	}
	w.must(drop(c.UpdateAccountPasswordPolicy(ctx, &sdk.UpdateAccountPasswordPolicyInput{MinimumPasswordLength: new(int32(12)), RequireSymbols: true,
		AllowUsersToChangePassword: true, MaxPasswordAge: new(int32(90)), PasswordReusePrevention: new(int32(3)), HardExpiry: new(true)})))
	w.restart()
	if got, err := get(); err != nil || got != "12 true false false false true true true true true" {
		t.Errorf("got %s, %v", got, err)
	}
	w.must(drop(c.UpdateAccountPasswordPolicy(ctx, &sdk.UpdateAccountPasswordPolicyInput{RequireNumbers: true})))
	if got, err := get(); err != nil || got != "6 false true false false false false false false false" {
		t.Errorf("got %s, %v", got, err)
	}
	w.try([]attempt{
		{"length", func() error {
			return drop(c.UpdateAccountPasswordPolicy(ctx, &sdk.UpdateAccountPasswordPolicyInput{MinimumPasswordLength: new(int32(5))}))
		}, "ValidationError: 1 validation error detected: "},
		{"reuse", func() error {
			return drop(c.UpdateAccountPasswordPolicy(ctx, &sdk.UpdateAccountPasswordPolicyInput{PasswordReusePrevention: new(int32(25))}))
		}, "ValidationError: 1 validation error detected: "},
		{"delete", func() error { return drop(c.DeleteAccountPasswordPolicy(ctx, &sdk.DeleteAccountPasswordPolicyInput{})) }, ""},
	})
}

// TestChangePassword: a user's own change, who may make it, what passwords it
// may not use again, and that it ends with a hard expiry.
func TestChangePassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	alice := w.user("alice", `{"Effect":"Allow","Action":"iam:ChangePassword","Resource":"arn:aws:iam::111122223333:user/alice"}`)
	bob := w.user("bob", "")
	eve := w.user("eve", `{"Effect":"Deny","Action":"iam:ChangePassword","Resource":"*"}`)
	for _, n := range []string{"alice", "bob", "eve"} {
		w.must(drop(c.CreateLoginProfile(ctx, &sdk.CreateLoginProfileInput{UserName: &n, Password: new("Passw0rd-0"), PasswordResetRequired: true})))
	}
	change := func(c *sdk.Client, from, to string) func() error {
		return func() error {
			return drop(c.ChangePassword(ctx, &sdk.ChangePasswordInput{OldPassword: &from, NewPassword: &to}))
		}
	}
	reset := func(to string) func() error {
		return func() error {
			return drop(c.UpdateLoginProfile(ctx, &sdk.UpdateLoginProfileInput{UserName: new("alice"), Password: &to}))
		}
	}
	update := func(in sdk.UpdateAccountPasswordPolicyInput) func() error {
		return func() error { return drop(c.UpdateAccountPasswordPolicy(ctx, &in)) }
	}
	const reused = "PasswordPolicyViolation: Password should not be one of the last 2 passwords"
	w.try([]attempt{
		{"root has none", change(w.root, "a", "b"), "InvalidUserType: "},
		{"no profile", change(w.admin, "a", "b"), "NoSuchEntity: Login Profile for User admin cannot be found."},
		{"wrong", change(alice, "Passw0rd-9", "Passw0rd-1"), "AccessDenied: The old password was incorrect."},
		{"weak", change(alice, "Passw0rd-0", "password"), "PasswordPolicyViolation: "},
		{"right", change(alice, "Passw0rd-0", "Passw0rd-1"), ""},
		{"the old one is void", change(alice, "Passw0rd-0", "Passw0rd-2"), "AccessDenied: The old password was incorrect."},
		{"the same is allowed without a policy", change(alice, "Passw0rd-1", "Passw0rd-1"), ""},
		{"bob may not", change(bob, "Passw0rd-0", "Passw0rd-1"), "AccessDenied: User: arn:aws:iam::111122223333:user/bob is not authorized to perform: iam:ChangePassword"},
		{"nor read the policy", func() error {
			return drop(bob.GetAccountPasswordPolicy(ctx, &sdk.GetAccountPasswordPolicyInput{}))
		}, "AccessDenied: "},
		{"policy", update(sdk.UpdateAccountPasswordPolicyInput{AllowUsersToChangePassword: true, PasswordReusePrevention: new(int32(2))}), ""},
		{"bob may now", change(bob, "Passw0rd-0", "Passw0rd-1"), ""},
		{"and read the policy", func() error {
			return drop(bob.GetAccountPasswordPolicy(ctx, &sdk.GetAccountPasswordPolicyInput{}))
		}, ""},
		{"a deny still denies", change(eve, "Passw0rd-0", "Passw0rd-1"), "AccessDenied: "},
		{"the current one", change(alice, "Passw0rd-1", "Passw0rd-1"), reused},
		{"another", change(alice, "Passw0rd-1", "Passw0rd-2"), ""},
		{"the one before", change(alice, "Passw0rd-2", "Passw0rd-1"), reused},
		{"by reset as well", reset("Passw0rd-1"), reused},
		{"a third", change(alice, "Passw0rd-2", "Passw0rd-3"), ""},
		{"long ago", change(alice, "Passw0rd-3", "Passw0rd-1"), ""},
		{"hard expiry", update(sdk.UpdateAccountPasswordPolicyInput{MaxPasswordAge: new(int32(1)), HardExpiry: new(true)}), ""},
		{"not expired", change(alice, "Passw0rd-1", "Passw0rd-4"), ""},
	})
	if got, err := c.GetLoginProfile(ctx, &sdk.GetLoginProfileInput{UserName: new("alice")}); err != nil || got.LoginProfile.PasswordResetRequired {
		t.Errorf("a change leaves %+v, %v", got, err)
	}
	w.pass(24 * time.Hour)
	w.try([]attempt{
		{"expired", change(alice, "Passw0rd-4", "Passw0rd-5"), "AccessDenied: The password has expired"},
		{"soft expiry", update(sdk.UpdateAccountPasswordPolicyInput{MaxPasswordAge: new(int32(1))}), ""},
		{"expired, but", change(alice, "Passw0rd-4", "Passw0rd-5"), ""},
	})
	if r := w.lastRecord(); r["eventName"] != "ChangePassword" || r["requestParameters"] != nil || r["responseElements"] != nil {
		t.Errorf("the record %v", r)
	}
}

// TestPasswordHistory: no more earlier passwords are kept than a policy can ask for.
func TestPasswordHistory(t *testing.T) {
	t.Parallel()
	l := &loginProfile{Hash: []byte{0}}
	for i := 1; i <= 40; i++ {
		l.replace([]byte{byte(i)}, time.Time{})
	}
	if len(l.Earlier) != maxEarlier || l.Hash[0] != 40 || l.Earlier[0][0] != 39 {
		t.Errorf("%d earlier ones, %v", len(l.Earlier), l.Earlier)
	}
	var got []bool
	for _, h := range []byte{40, 39, 38, 37} {
		got = append(got, l.usedBefore([]byte{h}, 3))
	}
	if d := cmp.Diff([]bool{true, true, true, false}, got); d != "" {
		t.Error(d)
	}
}
