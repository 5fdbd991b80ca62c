// The server of the demo, if it is to speak https.
import { readFileSync } from 'node:fs'
import type { RequestListener, Server } from 'node:http'
import { createServer } from 'node:https'

/** Makes what makes the server, of the files of a key and its certificate. `null`: there are none. */
export function httpsServer (
  key: string | undefined, cert: string | undefined
): ((handler: RequestListener) => Server) | null {
  if (key === undefined || cert === undefined) return null
  const files = { key: readFileSync(key), cert: readFileSync(cert) }
  return (handler) => createServer(files, handler)
}
