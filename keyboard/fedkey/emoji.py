"""Emoji for the word or phrase that was just written.

In: the text before the caret, and the emoji names and keywords that the package em-keyboard ships (from
emojilib, MIT licence). Out: at most a few emoji, none most of the time. Next stop: `fedkey.engine`.

An emoji nobody wanted costs attention and a place on the screen, so the finder is choosy. Three sources, each
of which goes before the next: `SAYINGS`, what people write in chats and the emoji they put there; the names
of emoji, without those of `UNSAID`; and of 6,000 keywords the few in `_KEYWORDS`. Keywords are a thesaurus,
not a translation ("standard" leads to a poodle), and most common words among them would be false alarms.

Measured on 3.5 million words of public chat: an emoji is offered after 4.3 % of words (1.4 to 1.8 % in
technical channels, 5.0 to 5.5 % in talk about films and music, 12 % where customers write little but hello
and thanks). Where Reddit writers put one after a word, it mostly is for the whole sentence ("... for that
😂"): some were offered at 17 % of 1,016 such places, and theirs was among them in three of ten.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from fedkey.text import is_word, normalise, units_with_places

MAX_WORDS = 3
"""Longest phrase, in words, that has an emoji."""

SAYINGS = """
😂 🤣: lol, haha, lmao, lmfao, hilarious, funny, laughing
🤣 😂: rofl, rotfl
😄 😁: hehe
😊 😄: happy, glad to hear, so glad, you're welcome, your welcome, you are welcome, yw
😢 😭: sad, cry, so sad, in tears
😭 😢: crying, sobbing, bawling
💔 😢: heartbroken, heartbreaking, broken heart
😔 😢: i'm sorry, im sorry, so sorry, lonely, feeling down
🥺 ❤️: miss you, miss u, missing you
🥺 🙏: pretty please
😡 🤬: furious, so mad, so angry, pissed
🙄: whatever, eye roll, yeah right, rolling my eyes
😒: jealous
🤩 🎉: excited, so excited, can't wait, cant wait
🤩: amazing, awesome, incredible
😮 🤩: wow
😮: surprised, surprising, whoa
😱 😂: omg, oh my god, oh my gosh, scared, terrified, shocked, shocking, horrifying
🤯: mind blown, mind blowing, mindblowing
😱 👻: scary, spooky
🥱 😑: bored, boring, so boring
😴 😩: tired, exhausted, so tired
😴 💤: sleep, sleepy, nap, go to sleep, sleep well, sleep tight, asleep, bedtime
😴 🌙: good night, goodnight, gn, nighty night, sweet dreams
🌙: night
☀️ 😊: good morning, goodmorning
☀️: morning, sunny, sunshine, sunny day
☀️ 🏖️: summer
❄️ ⛄: snow, snowing, snowy, winter, let it snow
🍂 🍁: autumn
🌧️ ☔: rain, raining, rainy, rainy day
⛈️: storm, stormy, thunderstorm, thunder
⚡: lightning
☁️: cloudy
🌙 🌕: moon
🌍: earth
🌅 🌇: sunset, sunrise
🤒 🤢: sick, feeling sick, so sick
🤒: fever, have the flu
🤕: headache, migraine
🤢 🤮: gross, disgusting, yuck, ew, nauseous
🤮: puke, vomit, throw up, threw up
🥵 🔥: hot, so hot
🥶: cold, freezing, so cold
🤤 😋: hungry, starving, so hungry
😋: yum, yummy, delicious, tasty, nom nom
😬: awkward, nervous, yikes
😰: anxious, stressed, stressed out
😳: embarrassed, embarrassing
😅: oops, whoops, phew, my bad
😩: ugh
🤔: hmm, makes you think, let me think
🤷: idk, shrug, who knows, no idea
🤦: facepalm, smh
🤪: silly, crazy
😜: jk, just kidding, kidding
😉: wink, wink wink
🙃: sarcasm, sarcastic
😎: cool, so cool, too cool, sunglasses
🥰 😍: adorable, cute, so cute, aw
😍 ❤️: gorgeous, beautiful, handsome, love it, i love it, love this, love that
❤️ 😘: i love you, love you, love u, i love u, ily, love you too, love ya, luv u, luv you
❤️ 😍: love, in love
❤️: heart
😘 💋: kiss, xoxo, xo, good night kiss
🤗: hug, big hug, group hug
🎉 🥳: party, yay, yayy, woohoo, hooray, hurray, celebrate, celebrating, celebration, party time
🎉 👏: congrats, congratulations, congratulation, grats
👏: well done, good job, great job, nice job, nice work, great work, good work, bravo, applause
🎂 🎉: happy birthday, birthday, bday, happy bday, happy birthday to
🎉 🎆: happy new year, new year's eve, new years eve
🎄 🎅: merry christmas, christmas, xmas, merry xmas, happy christmas
🎃 👻: halloween, happy halloween
🦃: thanksgiving, happy thanksgiving
🐣 🐰: easter, happy easter
💘 ❤️: valentine, valentine's day, valentines day
💐 ❤️: mother's day, mothers day, happy anniversary
🕎: hanukkah
🌙 🤲: eid mubarak, ramadan mubarak
🪔: diwali
🏳️‍🌈: happy pride, pride month, pride parade
🎁: gift, birthday present, christmas present
🍀 🤞: good luck, best of luck, wish me luck
🍀: lucky
🤞: fingers crossed, cross my fingers, crossing my fingers
🙏 ❤️: thanks, thank you, thank u, thankyou, thx, ty, tysm, thanks so much
🙏: pray, praying, prayer, amen, namaste, i appreciate it, bless you, god bless
👋: hi, hello, hey there, hi there, bye, bye bye, goodbye, see you later, see you soon, see ya, cya, farewell
👍: sounds good, sounds great, got it, agreed, will do, good idea, great idea, no worries, no problem
👌: perfect
🙌: high five, hallelujah
👊: fist bump
✌️: peace, peace out
🤘: rock on, rock and roll, rock n roll
🤙: call me, hang loose
💪: strong, muscle, muscles, flex, you got this, stay strong
👹: monster
🤰: pregnant
🏊: swim
🍚: rice
🫐: berries
🩰: ballerina, ballet
🛸: ufo
🧙: wizard
⛷️: ski
🚒: firetruck, firefighters
🍖: barbecue
💪 🏋️: gym, workout, working out, work out
💯: one hundred percent, hundred percent
🔥: fire, lit, on fire
💀: i'm dead, im dead, i am dead
👀: eyes
🧠: genius, smart
🤑 💰: rich
💰 💸: money, payday
💵: cash, dollars
💡: lightbulb, eureka
✨: glitter, shiny, sparkly
✨ 🪄: magic
💎: jewelry, diamond
💍: engaged, engagement, married, marry me, will you marry
💒 💍: wedding
🎓: graduation, graduated, graduate
📚: homework, studying, library
📖: reading
📝: exam, quiz
🏆: winner, champion, championship, we won, i won
🎯: bullseye, spot on
🎵 🎶: music, song
🎤: singing, karaoke, concert, singer
💃 🕺: dance, dancing, dancer
🎬 🍿: movie, film, movie night, cinema
🎮: gaming, gamer, xbox, playstation, nintendo
🎨: painting
📷: photo, picture
💻: computer, coding, programming
📧: email
📱: phone, cell phone, iphone
📺: tv
🚓 👮: police, cops
🚗: car, driving, road trip
🚲: bike
🏍️: motorbike
✈️: plane, flight, airport
🏖️ ☀️: beach, vacation
⛵: boat, sailing
🏠: home sweet home
☕: coffee, coffee break, starbucks
🍵 🫖: tea, cup of tea
🍺 🍻: beer
🍷: wine
🍸 🍹: cocktail
🍾 🥂: champagne
🍻 🥂: cheers, drinks
🥃: whiskey, whisky
🥴: drunk, tipsy, wasted
🍳 🥞: breakfast, brunch
🍽️: lunch, dinner
🍔 🍟: burger, cheeseburger, fast food
🍝: pasta
🍜: ramen, noodles
🍲: soup, stew
🥩: steak
🍗: chicken wings, fried chicken, chicken nuggets
🌶️: spicy
🍰 🎂: cake
🍰: dessert
🍦 🍨: ice cream
🍩: donut, doughnut
🥞: pancake
🍒: cherry
🍊: oranges, orange juice
🥜: peanut, peanut butter
🐶: puppy, doggo, pup, doggy
🐱: kitten, kitty
🐰: bunny
🐝: bee
🐑: sheep
🐿️: squirrel
🦖 🦕: dinosaur
🐹: guinea pig
🦭: sea lion
🏏: cricket
🦗: crickets
🏈 ⚽: football
⛳ 🏌️: golf
🥊: boxing, boxer
🏒: hockey
🏀: nba
🏈: nfl, super bowl, superbowl
🥇: gold medal, first place
🧘: yoga, meditation
🌸 💐: flower
🌹: rose, roses
🌳: tree
🌲: forest
🌱: plant
👑: king, queen
😇 👼: angel
😈: devil
🏴‍☠️ 🦜: pirate
🧙‍♀️: witch
🎅: santa
💩: poop
💇: haircut
💄: makeup
💅: nails
🛍️: shopping
👟: shoes, sneakers
🛁: bath, bubble bath
🧹: cleaning
💊: medicine, meds
💉: vaccine
😷: mask
🇺🇸: usa, america
🇬🇧: uk, britain, great britain
🇰🇷: korea
🇳🇱: holland
🇨🇿: czech republic
🇦🇪: uae
🇭🇰: hong kong
🇵🇸: palestine
🇨🇮: ivory coast
🇧🇦: bosnia
🇪🇺: eu
"""
"""Lines of emoji, best first, and after the colon the phrases that they follow. Written for the way people
chat: the data has no frequencies, and its keywords put six emoji on equal terms where people use one."""

UNSAID = frozenset(
    # Words of many meanings, and the emoji has one of the rarer ones.
    "artist bat battery bell bone boy brick briefs calendar cancer chains child clamp cloud collision comet "
    "compass construction cook copyright customs disguised distorted elevator eye fly foot gear girl guard "
    "hole hook houses infinity information jar judge key label ledger leg leo link locked lying man mate "
    "melting memo metro mouth neutral package person phoenix pick pleading prohibited ram receipt "
    "registered reunion ring rock sake satellite scroll seal seat shaking shield shorts star station "
    "student thinking thread unlocked warning watch weary wheel window wing wireless woman wood "
    # Names of people and places that are more often somebody or something else.
    "jordan chad georgia jersey guinea "
    # Grave or hurtful.
    "pistol dagger bomb coffin cigarette".split()
) | {"middle finger", "love hotel", "kitchen knife", "funeral urn", "biting lip"}
"""Names of emoji that bring none."""

_KEYWORDS = frozenset(
    "acorn alpaca aubergine bacon bbq biking boba bouldering cantaloupe cassette cereal cheese chef "
    "chess chili chocolate circus climbing clover confetti cop corn cowboy cowgirl crow cruise cursing "
    "demon denim dice diving dracula drool eiffel electrician espresso fencing fishing fries frisbee galaxy "
    "gecko geek gem ginger gingerbread golfing grape groceries gymnastics hat headphones heels helmet hen "
    "hiking hippie hippo honey hotdog hugs iceberg jaguar jogging judo juggle juggler juggling karate "
    "kimono knit ladybug lantern latte laundry lemonade lolly manicure maple massage medal milk mountains "
    "necklace nerdy nurse oatmeal olives oreo paella pepper piano picnic pierogi pingpong planet poo "
    "pudding pumpkin puzzle rhino rollercoaster rugby salad sandals saturn sausage scuba seafood seashell "
    "shampoo skating skiing sleigh smelly snorkeling soccer soda sofa spa subway suitcase surf surfer "
    "surfing swimmer swimming taekwondo teddy titanic toad tortoise trash tyrannosaurus vespa virus wand "
    "wrestler yacht yawn yoyo".split()
)
"""Keywords, and words of longer names, that mean an emoji as plainly as a name does."""

_NEGATIONS = frozenset("not never without isnt wasnt arent dont didnt doesnt wont cant".split())
_DEGREES = frozenset("so very really too that all a an the any as even feeling".split())
"""May stand between a negation and what it denies."""

_STRETCHED = re.compile(r"(.)\1{2,}")
_HISSING = re.compile(r"(?:s|x|z|ch|sh|o)es$")
"""Plurals that add two letters; others do not, or "rates" would be rats."""
_LAUGHTER = (
    (re.compile(r"b?a*(?:h+a+){2,}h*"), "haha"),
    (re.compile(r"(?:h+e+){2,}h*"), "hehe"),
    (re.compile(r"(?:l+o+){2,}l*"), "lol"),
)

_ENDERS = frozenset(".!?\u2026")
_OPENERS = frozenset(" \"'([#*")
_TAIL = 200
"""Characters before the caret that are looked at: more than a phrase and what denies it have."""


class EmojiFinder:
    """Finds emoji for what was just written.

    The data is read with the first finder of a process (about 10 ms on a desktop core), so that no key waits
    for it; a question takes some 30 microseconds.
    """

    def __init__(self) -> None:
        self._emoji = _emoji_by_phrase()

    def find(self, text_before: str, k: int = 2) -> tuple[str, ...]:
        """Emoji for the word, or the phrase of up to `MAX_WORDS` words, that ends `text_before`; best first.

        Args:
            text_before: everything before the caret; only its last line counts. A word has ended when white
                space, a full stop, ! or ? follows it; a word that may still be going on gets no emoji, nor
                does one with an emoji, a comma or anything else after it.
            k: most emoji wanted.

        Returns: strings of the data, without skin tones; mostly none. The longest phrase decides; one that is
        denied ("not happy") has no emoji.
        """
        words = _last_words(text_before)
        for length in range(min(MAX_WORDS, len(words)), 0, -1):
            phrase, before = words[-length:], words[:-length]
            if not phrase[0].begins:
                continue
            for spelling in _spellings(" ".join(word.text for word in phrase)):
                if found := self._emoji.get(spelling):
                    return () if _ends_in_negation(before) else found[: max(k, 0)]
        return ()


@cache
def _emoji_by_phrase() -> Mapping[str, tuple[str, ...]]:
    """Phrase in small letters -> emoji, best first."""
    data = emoji_terms()
    return {**_by_keyword(data), **_by_name(data), **emoji_of_sayings()}


@cache
def emoji_terms() -> Mapping[str, list[str]]:
    """Every emoji -> its name, with underscores for spaces, and its keywords; in Unicode's order."""
    terms: dict[str, list[str]] = json.loads(files("em").joinpath("emojis.json").read_text("utf-8"))
    return terms


def spoken(name: str) -> str:
    """A name of the data as people write it."""
    return name.replace("_", " ").strip().replace("o clock", "o'clock")


class _Word(NamedTuple):
    text: str
    """In small letters."""
    begins: bool
    """Whether it begins on its own, rather than after the hyphen or the slash of a longer word."""


def _last_words(text_before: str) -> list[_Word]:
    """The words that end a text, back to anything that is none; without any if something else ends it."""
    line = text_before.rpartition("\n")[2]
    if not (line[-1:].isspace() or line[-1:] in _ENDERS):
        return []
    if len(line) > _TAIL:
        # Cut between words, or the end of a long word would be taken for a word.
        line = re.sub(r"^\S*", "", line[-_TAIL:])
    message = normalise(line)
    words: list[_Word] = []
    begin_of_next: int | None = None
    for unit, place in reversed(units_with_places(message)):
        if not words and set(unit) <= _ENDERS:
            continue
        if unit == "-" and place + 1 == begin_of_next:  # "t-shirt"; its words stand apart in the data
            continue
        if not is_word(unit):
            break
        words.append(_Word(unit.casefold(), place == 0 or message[place - 1] in _OPENERS))
        begin_of_next = place
    return words[::-1]


def _spellings(phrase: str) -> Iterator[str]:
    """The forms under which a phrase may be listed: itself, laughter cut short, unstretched, singular."""
    yield phrase
    for laughter, short in _LAUGHTER:
        if laughter.fullmatch(phrase):
            yield short
    if _STRETCHED.search(phrase):
        yield _STRETCHED.sub(r"\1\1", phrase)
        yield _STRETCHED.sub(r"\1", phrase)
    if len(phrase) > 3 and phrase.endswith("s"):
        yield phrase[:-1]
        if _HISSING.search(phrase):
            yield phrase[:-2]
        elif len(phrase) > 4 and phrase.endswith("ies"):
            yield phrase[:-3] + "y"


def _ends_in_negation(words: list[_Word]) -> bool:
    texts = [word.text for word in words]
    if texts and texts[-1] in _DEGREES:
        texts.pop()
    return bool(texts) and (texts[-1] in _NEGATIONS or texts[-1].endswith("n't"))


def emoji_of_sayings() -> dict[str, tuple[str, ...]]:
    """`SAYINGS` by phrase."""
    found: dict[str, tuple[str, ...]] = {}
    for line in SAYINGS.strip().splitlines():
        emoji, phrases = line.split(": ")
        found.update(dict.fromkeys(phrases.split(", "), tuple(emoji.split())))
    return found


def _by_name(data: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for emoji, (underscored, *_) in data.items():
        name = spoken(underscored)
        for each in {name, name.removesuffix(" face"), name.removeprefix("flag ")} - UNSAID:
            found[each] = (*found.get(each, ()), emoji)
    return found


def _by_keyword(data: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    """For every trusted keyword its one emoji: one that has it in its name or early in its list, where people
    wrote it down first; of several, the one with the shortest list. The next best would be guesses."""
    best: dict[str, tuple[tuple[int, int], str]] = {}
    for emoji, (name, *keywords) in data.items():
        parts = name.split("_")
        if parts[0] in ("man", "woman"):  # the person is an emoji of its own
            continue
        terms = [*parts, *keywords]
        for keyword in _KEYWORDS.intersection(terms):
            rank = (terms.index(keyword), len(keywords))
            if keyword not in best or rank < best[keyword][0]:
                best[keyword] = (rank, emoji)
    return {keyword: (emoji,) for keyword, (_, emoji) in best.items()}
