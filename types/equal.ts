// Compiled by npm run test:types, never run: how the files beside it compare types.

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false

/** Compiles if it is true, or false, that a value has exactly the type `Expected`. */
export const is = <Expected>() => <Actual>(_value: Actual, _equal: Equal<Actual, Expected>): void => {}
