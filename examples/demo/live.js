/* global addEventListener, DOMParser, EventSource, history, location */
// What pages do beyond forms and links. They work without it.

const { body } = document
const news = document.querySelector('#news')

function tell (text) {
  news.hidden = false
  news.textContent = text
}

// Exact times in the reader's time zone.
function showLocalTimes () {
  const format = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short' })
  for (const time of document.querySelectorAll('time.exact')) time.textContent = format.format(new Date(time.dateTime))
}

// What a form has led to is told once, and not again when the page is loaded again.
if (location.search.includes('say=')) history.replaceState(null, '', location.pathname + location.hash)

// A form has been sent, and what it leads to is on its way: to load this page again would stop that.
let isLeaving = false
addEventListener('submit', () => { isLeaving = true })
addEventListener('pageshow', () => { isLeaving = false })

// The page of somebody who is signed in: hears when the session ends, and when a device comes or goes.
function listen () {
  const events = new EventSource('/live')
  events.addEventListener('session', ({ data }) => {
    // Another window has signed in anew: this page is about a session that was.
    if (data !== body.dataset.session && !isLeaving) location.reload()
    body.dataset.live = ''
  })
  events.addEventListener('devices', () => { showDevices() })
  events.addEventListener('ended', () => {
    events.close()
    showEnd()
  })
  // It asks again by itself, unless the answer was an error: Redis is away, say.
  events.addEventListener('error', () => {
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 1000)
  })
}

function showEnd () {
  const main = document.querySelector('main')
  document.querySelector('header form')?.remove()
  main.replaceChildren(document.querySelector('#ended').content.cloneNode(true))
  document.title = 'Signed out · Sessions demo'
  // A screen reader says what has the focus.
  main.querySelector('h1').focus()
}

async function showDevices () {
  const page = await fetch('/').then((response) => response.text(), () => '')
  const fresh = new DOMParser().parseFromString(page, 'text/html').querySelector('#devices')
  const old = document.querySelector('#devices')
  if (fresh === null || old === null) return
  const focused = old.contains(document.activeElement) ? document.activeElement.id : null
  old.replaceWith(fresh)
  if (focused) (document.getElementById(focused) ?? fresh.querySelector('button')).focus()
  showLocalTimes()
  tell('Your devices have changed just now.')
}

// The page that says that Redis is away: goes on when it is back.
async function waitForServer () {
  const isReady = await fetch('/ready').then(({ ok }) => ok, () => false)
  if (isReady) location.assign('/')
  else setTimeout(waitForServer, 1000)
}

showLocalTimes()
if ('session' in body.dataset) listen()
if ('retries' in body.dataset) {
  tell('This page goes on by itself when Redis is back.')
  setTimeout(waitForServer, 1000)
}
