import { droppedMessage, endedIn } from '../session/events.ts'
import { TELL_AGAIN_MS, TELLING_MS } from '../util/timings.ts'
import { isLasting } from './driver.ts'

/**
 * Sends a message between processes, and never rejects. If it is not known whether Redis took it, its ends are told
 * again until Redis takes them, for five seconds: other processes may keep copies of these sessions. They are told as
 * no events, so that whoever listens does not hear twice of an end.
 */
export async function published (send: (message: string) => Promise<unknown>, message: string): Promise<void> {
  const giveUpAt = performance.now() + TELLING_MS
  let text = message
  for (;;) {
    try {
      await send(text)
      return
    } catch (error) {
      const ids = endedIn(message)
      const { cause } = error as Error
      if (ids.length === 0 || isLasting(cause) || performance.now() >= giveUpAt) return
      // Without a cause it was not sent.
      if (cause !== undefined) text = droppedMessage(...ids)
      await new Promise<void>((resolve) => { setTimeout(resolve, TELL_AGAIN_MS).unref() })
    }
  }
}
