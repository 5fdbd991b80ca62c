/** What an object of the application's says of itself, or `otherwise` where asking throws. */
export function attempted<T> (ask: () => T, otherwise: T): T {
  try {
    return ask()
  } catch {
    return otherwise
  }
}
