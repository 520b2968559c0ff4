// Package convert leads values between the SDK's types and those of the generated bindings.
package convert

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
	"watchkeeper"
	"wit_component/watchkeeper_plugin_types"
)

// Plugin answers what was registered, as what an export needs of it.
func Plugin[T any](export string) (T, watchkeeper_plugin_types.Error, bool) {
	plugin, ok := watchkeeper.Registered.(T)
	if ok {
		return plugin, watchkeeper_plugin_types.Error{}, true
	}
	return plugin, watchkeeper_plugin_types.MakeErrorFailed(missing(export)), false
}

// Must answers what Plugin does, where the contract has no place for an error.
func Must[T any](export string) T {
	plugin, ok := watchkeeper.Registered.(T)
	if !ok {
		panic(missing(export))
	}
	return plugin
}

func missing(export string) string {
	return fmt.Sprintf("plugin.yaml exports %s, and what is registered, a %T, has not the methods for it: %s",
		export, watchkeeper.Registered, methods[export])
}

// What each export wants, as an author writes it.
var methods = map[string]string{
	"source":         "Configure([]byte) (Feed, error)",
	"parser":         "Parse(Payload) ([]Alert, error)",
	"responder":      "Respond(Payload) (*Reply, error)",
	"poller":         "Fetch(*string) (Batch, error)",
	"health":         "Check() error",
	"prompt-builder": "Score(Alert) uint32 and Build(Briefing) (Prompt, error)",
	"playbook":       "Next(Briefing, []Outcome) (Step, error)",
}

func Option[T any](value *T) witTypes.Option[T] {
	if value == nil {
		return witTypes.None[T]()
	}
	return witTypes.Some(*value)
}

func Pointer[T any](option witTypes.Option[T]) *T {
	if option.Tag() == witTypes.OptionNone {
		return nil
	}
	value := option.Some()
	return &value
}

func LowerPairs(pairs watchkeeper.Pairs) []witTypes.Tuple2[string, string] {
	lowered := make([]witTypes.Tuple2[string, string], len(pairs))
	for i, pair := range pairs {
		lowered[i] = witTypes.Tuple2[string, string]{F0: pair.Key, F1: pair.Value}
	}
	return lowered
}

func LiftPairs(pairs []witTypes.Tuple2[string, string]) watchkeeper.Pairs {
	lifted := make(watchkeeper.Pairs, len(pairs))
	for i, pair := range pairs {
		lifted[i] = watchkeeper.Pair{Key: pair.F0, Value: pair.F1}
	}
	return lifted
}

// Check names what the host can't take; the canonical ABI would end the call, and not say what it was.
func Check(alerts []watchkeeper.Alert) error {
	for i, alert := range alerts {
		if alert.Severity > watchkeeper.Critical {
			return watchkeeper.Failed("the plugin made alerts[%d].Severity %d, which is none", i, alert.Severity)
		}
		if alert.Status > watchkeeper.Resolved {
			return watchkeeper.Failed("the plugin made alerts[%d].Status %d, which is none", i, alert.Status)
		}
		texts := [3]struct{ name, text string }{{"ID", alert.ID}, {"Title", alert.Title}, {"Description", alert.Description}}
		for _, text := range texts {
			if !utf8.ValidString(text.text) {
				return watchkeeper.Failed("the plugin made alerts[%d].%s no UTF-8: %q", i, text.name, text.text)
			}
		}
		for _, pairs := range []watchkeeper.Pairs{alert.Labels, alert.Annotations} {
			for _, pair := range pairs {
				if !utf8.ValidString(pair.Key) || !utf8.ValidString(pair.Value) {
					return watchkeeper.Failed("the plugin made %q: %q of alerts[%d] no UTF-8", pair.Key, pair.Value, i)
				}
			}
		}
	}
	return nil
}

func LowerAlerts(alerts []watchkeeper.Alert) []watchkeeper_plugin_types.Alert {
	lowered := make([]watchkeeper_plugin_types.Alert, len(alerts))
	for i, alert := range alerts {
		lowered[i] = watchkeeper_plugin_types.Alert{
			Id:          alert.ID,
			Severity:    uint8(alert.Severity),
			Status:      uint8(alert.Status),
			Title:       alert.Title,
			Description: alert.Description,
			Labels:      LowerPairs(alert.Labels),
			Annotations: LowerPairs(alert.Annotations),
			StartsAt:    Option(alert.StartsAt),
			EndsAt:      Option(alert.EndsAt),
		}
	}
	return lowered
}

func LiftAlert(alert watchkeeper_plugin_types.Alert) watchkeeper.Alert {
	return watchkeeper.Alert{
		ID:          alert.Id,
		Severity:    watchkeeper.Severity(alert.Severity),
		Status:      watchkeeper.Status(alert.Status),
		Title:       alert.Title,
		Description: alert.Description,
		Labels:      LiftPairs(alert.Labels),
		Annotations: LiftPairs(alert.Annotations),
		StartsAt:    Pointer(alert.StartsAt),
		EndsAt:      Pointer(alert.EndsAt),
	}
}

func LiftPayload(payload watchkeeper_plugin_types.Payload) watchkeeper.Payload {
	return watchkeeper.Payload{
		Body:        payload.Body,
		ContentType: Pointer(payload.ContentType),
		Attributes:  LiftPairs(payload.Attributes),
	}
}

// LowerError sorts any error of Go by who can act on it; one that doesn't say is the plugin's own.
func LowerError(err error) watchkeeper_plugin_types.Error {
	var sorted *watchkeeper.Error
	if !errors.As(err, &sorted) {
		return watchkeeper_plugin_types.MakeErrorFailed(valid(err.Error()))
	}
	reason := valid(sorted.Reason)
	switch sorted.Kind {
	case watchkeeper.KindInvalidConfig:
		lowered := watchkeeper_plugin_types.ConfigError{Reason: reason}
		if sorted.Key != "" {
			lowered.Key = witTypes.Some(valid(sorted.Key))
		}
		return watchkeeper_plugin_types.MakeErrorInvalidConfig(lowered)
	case watchkeeper.KindInvalidPayload:
		return watchkeeper_plugin_types.MakeErrorInvalidPayload(reason)
	case watchkeeper.KindUnauthorized:
		return watchkeeper_plugin_types.MakeErrorUnauthorized(reason)
	case watchkeeper.KindUnavailable:
		return watchkeeper_plugin_types.MakeErrorUnavailable(watchkeeper_plugin_types.UnavailableError{
			Reason:     reason,
			RetryAfter: Option(sorted.RetryAfterMS),
		})
	default:
		return watchkeeper_plugin_types.MakeErrorFailed(reason)
	}
}

// What leaves must be UTF-8, words for people, too.
func valid(text string) string { return strings.ToValidUTF8(text, "\ufffd") }
