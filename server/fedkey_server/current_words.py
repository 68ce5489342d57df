"""Words of today that public lists lack, and misspellings that they have, as people put them right by hand.

In: nothing. Out: words for `fedkey_server.vocabulary`. Next stop: there.

The lists are of books, subtitles and text until 2021, and tell slips by how near and how much more frequent
another word is: "gif" counts as a slip of "if", and "reccomend" is too far from "recommend" to be one.
"""

from __future__ import annotations

CURRENT_WORDS = frozenset(
    # What people use and where they buy it.
    "TikTok TikToks Lyft Venmo Zelle Grubhub Instacart Airbnbs Ubers Trello Asana Jira Figma Canva OneDrive "
    "Gmails Bing DuckDuckGo ChatGPT OpenAI Siri Cortana Crunchyroll Pinterest Quora FaceTimed FaceTiming "
    "Glassdoor Zillow Etsy Shein Temu Wayfair CVS Popeyes Panera IHOP Sainsburys Asda Waitrose Primark "
    "Uniqlo Lululemon Yeezy Yeezys Crocs Uggs Spanx Ulta USPS DHL SpaceX Kia TMobile CashApp Robinhood "
    "QuickBooks TurboTax Fitbits GoPros AirPod AirTag AirTags MacBooks iMac Valorant YouTuber YouTubers "
    "googled PowerPoints Shopify "
    # Computers and the net.
    "vlog vlogs vlogger vloggers vlogging podcaster podcasters podcasting livestreams livestreaming "
    "livestreamed influencer influencers retweet unfollow gif screenshare repost reposts reposted reposting "
    "ebook ebooks DVD USB USBs LCD LEDs OLED SSD SSDs HDD VPNs CSS JSON YAML SQLite iOS Unix fullstack "
    "middleware async refactor rebase GitLab Bitbucket Kubernetes NumPy PyTorch TensorFlow Matlab tooltip "
    "checkboxes kanban standups onboarding offboarding hackathon hackathons offsite offsites deliverable "
    "deliverables webinars chatbot chatbots deepfake deepfakes ransomware captchas signups autocorrected "
    "autocorrects autofill cryptocurrencies Dogecoin NFT NFTs metaverse freemium SaaS paywalls smartwatches "
    "powerbank ringtones voicemails doomscrolling "
    # Said by their letters, and cut short.
    "ADHD OCD IBS STD HIV COPD MRIs CNN LAPD IMF OPEC CFO CTO CIO PhDs MBAs GPAs SATs GRE LSAT MCAT USD GBP "
    "DIY FAQ FAQs TBA BIPOC EVs RVs ATV ATVs atm ATMs ACL GOP IMAX TVs DVR HDR MMO PvP PvE DnD fomo yolo "
    "iykyk bff bffs bf gf bfs gfs bday bdays vid vids vax vaxx vaxxed vaxxer vaxxers antivax mins hrs yrs "
    "kgs appt appts misc prob comp convos rec recs merch bio "
    # At home, in the kitchen, at the doctor's.
    "lockdowns staycation staycations coworking wfh telehealth telemedicine airfryer airfryers crockpot "
    "crockpots instapot flexitarian pescatarian kombucha matcha boba pho tzatziki quesadillas empanadas "
    "macchiato frappuccino frappuccinos mojito mojitos prosecco acai chia edamame nigiri bibimbap bulgogi "
    "naan paneer tikka biryani dosa ghee carb carbs carbing probiotic probiotics HIIT Peloton deadlift "
    "deadlifts burpee burpees tshirt tshirts onesie onesies microblading balayage pedi kindergartner fiance "
    "fiances grandkid grandbaby pupper puppers labradoodle townhome townhomes flatmate flatmates rideshare "
    "rideshares Aleve Claritin Lexapro Ozempic doula "
    # Said among friends.
    "yeet yeeted bae baes fam famo simp simps simping sus litty deadass periodt thicc mansplain "
    "mansplaining boujee bougie finsta finstas adulting hangry glamping humblebrag mocktail mocktails "
    "bromance frenemy frenemies sexting catfished catfishing fangirl fangirling clapback tbt adorbs "
    "amazeballs hella yass yas welp oopsie whoopsie hafta oughta shoulda coulda woulda musta mighta hunny "
    "ily hehe lolz rofl rotfl omw "
    # Names that other names or words are one letter away from.
    "Ayden Brayden Kayden Luca Matteo Jaxon Jaxson Eamon Niamh Siobhan Aoife Saoirse Caoimhe Kaylee Skyler "
    "Jen Kimmy Kev Steph Zack Nico Joelle Ximena Daniela Khadija Zainab Bilal Kavya Neha Shreya Sneha Amit "
    "Xin Hao Ying Yan Guo Minh Linh Anh Hoang Pham Yoon Haruto Naoko Kwame Chidi Ngozi Chioma Emeka Tunde "
    "Femi Oksana Piotr Marek Jakub Katarzyna Agnieszka Malgorzata Bjorn Anneliese Alessandra Chiara Giulia "
    "Gianna Rana Hana Deshawn Shaniqua Dre Weeknd Eilish Lizzo Timothee Chalamet".split()
)
"""As they are written: words, brands and first names that a person typed into the keyboard of 2026-11-28 and
found missing."""

CAPITALS = frozenset(
    # Makers, shops, programs and what is watched and played.
    "iCloud MacBook AirPods Airbnb AirPlay Adderall Alibaba Alienware Aldi Allianz Applebees AppStore "
    "Arduino Asahi Atlassian Bandcamp Barclays BestBuy BitTorrent BlackRock Bloodborne Bloomberg Botox "
    "Broadcom Bungie Cadbury Capcom Cheetos Chipotle Cineworld Coinbase Deloitte Digg Disneyworld Drupal "
    "Dyson Fitbit GeForce GoFundMe GoPro Goodreads Hotmail HuffPost Imgur Invictus Joomla Kinect Kodi "
    "Kotaku Legoland Lidl LimeWire Lionsgate Lloyds Lumia Mahindra Maruti Maserati McMuffin McNuggets "
    "Mockingjay MongoDB MySQL MythBusters Netgear Nutella Nvidia OkCupid OnePlus OpenSSL Oreos Patreon "
    "PowerShell PubMed Reddit Redbox Roblox Runescape Safeco Sainsbury Sephora Skynet Snapchats SpongeBob "
    "Squarepants Squidward StubHub Swarovski Tekken Tesco Topshop Twinkies Ubisoft Valium Viagra "
    "Walgreens Waymo Wacom Westeros Westgate WikiHow Wizkid Wolfenstein WrestleMania Xiaomi Xperia "
    "Xfinity Ziploc Zamboni Cartman Gundam Muggle Pikachu Sasuke Sauron "
    # Teams, leagues and people of whom news tell.
    "Agassi Aguero Assange Balotelli Benzema Bundesliga Cersei Corbyn Coutinho Drogba Erdogan Falcao "
    "Farage Feinstein Ferreira Franken Galatasaray Guardiola Ibrahimovic Iniesta Juventus Kavanaugh Klopp "
    "Kohli Lampard Lesnar Lukaku Manafort Mayweather Messi Miliband Netanyahu Neymar Obamacare Pacquiao "
    "Pelosi PewDiePie Pogba Pompeo Scalia Sociedad Spieth Sturridge Tyrion Vettel Wilshere Zidane Zlatan "
    "Giuliani Clegg Giroud "
    # Places, peoples and feasts.
    "Abuja Andhra Armagh Baloch Balochistan Bengaluru Brexit Brixton Brockton Broward Cebu Cincy Chennai "
    "Chengdu Clapham Coruscant Darfur Denali Diwali Filipina Glamorgan Guangdong Gurgaon Hamas Hongkong "
    "Incheon Jeddah Kathmandu Kharkiv Kyiv Lothian Mesopotamia Middlesbrough Mughal Mykonos Nadu "
    "Naperville Otago Phuket Pune Pyeongchang Qatari Rohingya Sedona Shenzhen Sindh Telangana Tiananmen "
    "Yangon Zhejiang Zika "
    # Said by their letters.
    "UEFA UKIP NCIS PSN ISIL HMRC NYU NYPD UNHCR UBS YPG".split()
)
"""What the lists have in small letters, or not as it is written."""

SMALL = frozenset("bros eco lil muppet muppets pitbull pitbulls uni".split())
"""Words that the lists have as names alone."""

CURRENT_SHARE = 2e-6
"""Of running words, what each of them has at least among wordfreq's, as the 20,000th word of these has."""

MISSPELT = frozenset(
    """absorbant accelleration accidently afterall alladin ballance becoz beggining billon bizzare brach
    calender carreers carribean casette cheeper cincinatti clammer colum commiters conquerer consol corse
    cotten definatly definently definetly delate dependance dependancies dependancy diaster dissapoint
    dissapointed dissapointing doesent dosent eduction equipments eventhough exactally favirote finnaly
    glamourous goodmorning guiness havnt heathy heder heros hight idealogy inbetween indepth infact
    intension issus jurrasic knowledgable lacker longe metalica metics millenial millenials millenium
    miniscule minium morrisette napolean neral nevers orginial pallette partioning partions pervious
    precess prevelant probly proffesional publically raggae rascall rasing reccomend reffering repartion
    rythem sargeant sargent sequals sherif skelton stroy surprize suspensful thant thess tieing tommorow
    trolly tuscon univesity useability waring wendesday wether wheen whish wouldent zoen unnessecary
    quartback supervillian supervillians""".split()
)
"""No words, though lists or the server's text have them: what codespell lists as misspelt, lexicon or
dictionary of 2026-11-28 had, and is no word of its own, or one so rare that whoever types it means another
(colum, stroy)."""
