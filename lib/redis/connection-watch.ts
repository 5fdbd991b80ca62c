import { isCluster } from './client.ts'
import type { Client } from './client.ts'
import { isRefusal, withoutCommand } from './driver-errors.ts'
import { hearAsking } from './driver-mends.ts'

/** Listens to a connection, which others may be using as well: what went wrong last, and whether waiting may mend it. */
export class ConnectionWatch {
  readonly #client: Client
  readonly #whenReady: () => void
  readonly #stopHearing: () => void
  /** Since it was ready last. */
  lastError: Error | undefined
  /** What only other options will mend. */
  refusal: Error | undefined
  readonly #onError = (error: Error): void => {
    this.lastError = withoutCommand(error)
    // Of a Cluster: why not the last of its nodes.
    const refusal = [error, (error as { lastNodeError?: Error }).lastNodeError].find(isRefusal)
    if (refusal !== undefined) this.refusal = refusal
  }

  readonly #onReady = (): void => {
    this.lastError = undefined
    this.#whenReady()
  }

  constructor (client: Client, whenReady: () => void) {
    this.#client = client
    this.#whenReady = whenReady
    // However many stores share a client.
    client.setMaxListeners(client.getMaxListeners() + 1)
    // Unheard, the driver would print every failed attempt to connect.
    client.on('error', this.#onError)
    client.on('ready', this.#onReady)
    this.#stopHearing = isCluster(client) ? hearAsking(client) : () => {}
  }

  /** Stops listening; failed attempts to connect are still not printed. Twice is safe. */
  close (): void {
    const client = this.#client
    if (!client.listeners('ready').includes(this.#onReady)) return
    this.#stopHearing()
    client.off('ready', this.#onReady)
    client.off('error', this.#onError)
    client.on('error', quiet)
    client.setMaxListeners(client.getMaxListeners() - 1)
    // One for all stores that were on it.
    if (client.listeners('error').filter((listener) => listener === quiet).length > 1) client.off('error', quiet)
  }
}

/** What is left where a store listened. */
function quiet (): void {}
