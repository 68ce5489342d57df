"""Words that are right, though the lexicon has no room for them.

In: the lexicon, public word lists, and words of today that these do not have. Out: `dictionary.txt`, by which
a keyboard knows what not to correct. Next stop: `fedkey_server.tokenizer`; `fedkey.dictionary` is what
becomes of them.
"""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from fedkey.errors import UserError
from fedkey_server.vocabulary import PublicLists

DICTIONARY = "dictionary.txt"

MIN_LETTERS = 5
"""Of a list's words. Shorter ones are what slips hit (hern, gree, wite). With words of four letters as well
0.3 of 100 misspellings less are mended, and no right word of 1,500 of validation authors is harmed less."""

MIN_SHARE = 1e-8
"""wordfreq's least share of running words; half of what is listed is rarer."""

CURRENT_WORDS = frozenset(
    # What people use and where they buy it.
    "tiktok tiktoks lyft venmo zelle grubhub instacart airbnbs ubers trello asana jira figma canva onedrive "
    "gmails bing duckduckgo chatgpt openai siri cortana crunchyroll pinterest quora facetimed facetiming "
    "glassdoor zillow etsy shein temu wayfair cvs mcdonalds wendys popeyes panera ihop dennys sainsburys "
    "asda waitrose primark uniqlo lululemon yeezy yeezys crocs uggs spanx ulta usps dhl spacex kia tmobile "
    "cashapp robinhood quickbooks turbotax fitbits gopros airpod airtag airtags macbooks imac valorant "
    "youtuber youtubers googled powerpoints shopify "
    # Computers and the net.
    "vlog vlogger vloggers vlogging podcaster podcasters podcasting livestreams livestreaming livestreamed "
    "influencer influencers retweet unfollow gif screenshare repost reposts reposted reposting ebook ebooks "
    "dvd usb usbs lcd leds oled ssd ssds hdd vpns css json yaml sqlite ios unix fullstack middleware async "
    "refactor rebase gitlab bitbucket kubernetes nodejs reactjs numpy pytorch tensorflow matlab tooltip "
    "checkboxes kanban standups offboarding offsite offsites deliverable deliverables webinars chatbot "
    "chatbots deepfake deepfakes ransomware captchas signups autocorrected autocorrects autofill "
    "cryptocurrencies dogecoin nft nfts metaverse freemium saas paywalls smartwatches powerbank ringtones "
    "voicemails doomscrolling "
    # Said by their letters, and cut short.
    "adhd ocd ibs std hiv copd mris cnn lapd imf opec cfo cto cio phds mbas gpas sats gre lsat mcat usd gbp "
    "diy faq faqs tba bipoc evs rvs atv atvs atm atms acl gop imax tvs dvr hdr mmo pvp pve dnd fomo yolo "
    "iykyk bff bffs bf gf bfs gfs bday bdays vid vids vax vaxx vaxxed antivax mins hrs yrs kgs appt appts "
    "misc prob comp convos rec recs merch bio "
    # At home, in the kitchen, at the doctor's.
    "lockdowns staycation staycations coworking wfh telehealth telemedicine airfryer airfryers crockpot "
    "crockpots instapot flexitarian pescatarian kombucha matcha boba pho tzatziki quesadillas empanadas "
    "macchiato frappuccino frappuccinos mojito mojitos prosecco acai chia edamame nigiri bibimbap bulgogi "
    "naan paneer tikka biryani dosa ghee carb carbs carbing probiotic probiotics hiit peloton deadlifts "
    "burpee burpees tshirt tshirts onesie onesies microblading balayage pedi kindergartner fiance fiances "
    "grandkid grandbaby pupper puppers labradoodle townhome townhomes rideshare rideshares aleve claritin "
    "lexapro ozempic doula "
    # Said among friends.
    "yeet yeeted bae baes fam famo simp simps simping sus litty deadass periodt thicc mansplain "
    "mansplaining boujee bougie finsta finstas adulting hangry glamping humblebrag mocktail mocktails "
    "bromance frenemy frenemies sexting catfished catfishing fangirl fangirling clapback tbt adorbs "
    "amazeballs hella yass yas welp oopsie whoopsie hafta oughta shoulda coulda woulda musta mighta hunny "
    "ily hehe lolz rofl omw "
    # Names that other names or words are one letter away from.
    "ayden brayden kayden luca matteo jaxon jaxson eamon niamh siobhan aoife saoirse caoimhe kaylee skyler "
    "jen kimmy kev steph zack nico joelle ximena daniela khadija zainab bilal kavya neha shreya sneha amit "
    "xin hao ying yan guo minh linh anh hoang pham yoon haruto naoko kwame chidi ngozi chioma emeka tunde "
    "femi oksana piotr marek jakub katarzyna agnieszka malgorzata bjorn anneliese alessandra chiara giulia "
    "gianna rana hana deshawn shaniqua dre weeknd eilish lizzo timothee chalamet".split()
)
"""In lower case: words, brands and first names that a person typed into the lexicon of 2026-11-28 and found
missing, there and in pyspellchecker's list."""


def right_words(lexicon: Container[str], language: str) -> list[str]:
    """Right words beyond a lexicon, in lower case and alphabetical order.

    Forms with 's are left out, since a keyboard knows them by their stem.

    Args:
        lexicon: the words that are in it, in lower case.
        language: of the public lists.

    Raises:
        UserError: there is no public list for the language.
    """
    lists = PublicLists.open(language)
    listed = {
        word
        for word in lists.listed
        if len(word) >= MIN_LETTERS
        and not word.endswith("'s")
        and lists.frequency.get(word, 0.0) >= MIN_SHARE
        and not lists.is_slip(word, lists.frequency)
    }
    return sorted(word for word in listed | CURRENT_WORDS if word not in lexicon)


def write(words: list[str], path: Path) -> None:
    """Writes `dictionary.txt`: one word a line."""
    path.write_text("".join(f"{word}\n" for word in words), encoding="utf-8")


def read(path: Path) -> list[str]:
    """Reads what `write` wrote; `UserError` if it is missing or no such text."""
    try:
        return path.read_text(encoding="utf-8").split()
    except FileNotFoundError as error:
        raise UserError(f"There is no {path}; prepare the data again.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read the dictionary {path}; prepare the data again.") from error
