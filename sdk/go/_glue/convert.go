// Package convert leads values between the SDK's types and those of the generated bindings.
package convert

import (
	"errors"
	"fmt"

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
	reason := fmt.Sprintf("plugin.yaml exports %s, and what is registered, a %T, has not the methods for it",
		export, watchkeeper.Registered)
	return plugin, watchkeeper_plugin_types.MakeErrorFailed(reason), false
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
		return watchkeeper_plugin_types.MakeErrorFailed(err.Error())
	}
	switch sorted.Kind {
	case watchkeeper.KindInvalidConfig:
		lowered := watchkeeper_plugin_types.ConfigError{Reason: sorted.Reason}
		if sorted.Key != "" {
			lowered.Key = witTypes.Some(sorted.Key)
		}
		return watchkeeper_plugin_types.MakeErrorInvalidConfig(lowered)
	case watchkeeper.KindInvalidPayload:
		return watchkeeper_plugin_types.MakeErrorInvalidPayload(sorted.Reason)
	case watchkeeper.KindUnauthorized:
		return watchkeeper_plugin_types.MakeErrorUnauthorized(sorted.Reason)
	case watchkeeper.KindUnavailable:
		return watchkeeper_plugin_types.MakeErrorUnavailable(watchkeeper_plugin_types.UnavailableError{
			Reason:     sorted.Reason,
			RetryAfter: Option(sorted.RetryAfterMS),
		})
	default:
		return watchkeeper_plugin_types.MakeErrorFailed(sorted.Reason)
	}
}
