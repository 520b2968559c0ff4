// Package wit_types has what generated bindings call the contract's options, results and tuples. It stands in for the
// package of that name in go.bytecodealliance.org/pkg, so that a build needs no module proxy.
package wit_types

// Unit is a value that says nothing.
type Unit struct{}

// Tuple2 is two values.
type Tuple2[A, B any] struct {
	F0 A
	F1 B
}

const (
	OptionNone = 0
	OptionSome = 1
)

// Option is a value, or none.
type Option[T any] struct {
	some  bool
	value T
}

func None[T any]() Option[T] { return Option[T]{} }

func Some[T any](value T) Option[T] { return Option[T]{true, value} }

func (o Option[T]) Tag() uint8 {
	if o.some {
		return OptionSome
	}
	return OptionNone
}

func (o Option[T]) Some() T {
	if !o.some {
		panic("there is no value")
	}
	return o.value
}

const (
	ResultOk  = 0
	ResultErr = 1
)

// Result is a value, or an error.
type Result[T, E any] struct {
	failed bool
	value  T
	err    E
}

func Ok[T, E any](value T) Result[T, E] { return Result[T, E]{value: value} }

func Err[T, E any](err E) Result[T, E] { return Result[T, E]{failed: true, err: err} }

func (r Result[T, E]) Tag() uint8 {
	if r.failed {
		return ResultErr
	}
	return ResultOk
}

func (r Result[T, E]) Ok() T {
	if r.failed {
		panic("it is an error")
	}
	return r.value
}

func (r Result[T, E]) Err() E {
	if !r.failed {
		panic("it is no error")
	}
	return r.err
}
