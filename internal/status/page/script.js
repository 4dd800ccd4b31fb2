// Updates the page in place, so that scrolling, focus and what is unfolded stay. Without it the browser loads it anew.
(() => {
  const seconds = Number(document.body.dataset.refresh)
  if (!seconds) return
  const focusable = 'a[href], summary'
  // An exporter that hangs, or is behind a network that drops all, never refuses: no answer is an answer, too.
  const patience = 5000
  let failedSince = '', updated = Date.now()

  async function update() {
    // Who is about to copy something keeps it for a minute; a wall display must not stand still for ever.
    if (document.hidden || String(getSelection()) && Date.now() - updated < 60000) return
    const stale = document.getElementById('stale')
    try {
      const answer = await fetch(location.href, { cache: 'no-store', signal: AbortSignal.timeout(patience) })
      if (!answer.ok) throw new Error(answer.status)
      replace(new DOMParser().parseFromString(await answer.text(), 'text/html'))
      failedSince = ''
      updated = Date.now()
      stale.textContent = ''
    } catch {
      failedSince ||= new Date().toISOString().slice(11, 19) + ' UTC'
      const text = 'This page is old: the exporter has not answered since ' + failedSince + '.'
      if (stale.textContent !== text) stale.textContent = text
    }
  }

  function replace(next) {
    const old = document.getElementById('main'), main = next.getElementById('main')
    if (!main) throw new Error('not the status page')
    for (const details of old.querySelectorAll('details[open]')) {
      main.querySelector('#' + details.id)?.setAttribute('open', '')
    }
    const focused = [...old.querySelectorAll(focusable)].indexOf(document.activeElement)
    const news = main.dataset.state !== old.dataset.state || main.dataset.reason !== old.dataset.reason
    old.replaceWith(document.adoptNode(main))
    if (focused >= 0) main.querySelectorAll(focusable)[focused]?.focus({ preventScroll: true })
    for (const id of ['updated', 'running', 'icon']) {
      document.getElementById(id).replaceWith(document.adoptNode(next.getElementById(id)))
    }
    document.title = next.title
    if (news) document.getElementById('announce').textContent = main.querySelector('.state').innerText
  }

  setInterval(update, seconds * 1000)
  document.addEventListener('visibilitychange', update)
})()
